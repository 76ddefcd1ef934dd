"""The journal of a study: append-only, checksummed lines that hold everything that happened.

A line is the CRC-32 of a JSON text as eight hex digits, a space, and the text. Each line is one
write, so a process that is killed leaves at most one torn line, the last, which is cut off when
the journal is opened again. A broken line anywhere else means that the file was damaged.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StudyError
from .files import free_lock, take_lock

Event = dict[str, Any]

LOCK = "lock"  # beside the journal while somebody writes it

SYNC_SECONDS = 1.0  # a power cut costs at most this much; a killed process costs nothing


def encode_line(event: Event) -> bytes:
    """Return one event as a line of the journal, newline included."""
    text = json.dumps(event, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode_line(line: bytes) -> Event | None:
    """Return the event of a line without its newline; None where the line is broken."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    event: Event = json.loads(text)
    return event


class JournalReader:
    """Reads a journal that somebody else may be writing.

    Attributes:
        path: of the journal.
        offset: bytes read so far: the end of the last whole line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._lines = 0

    def poll(self) -> list[Event]:
        """Return the whole events that were added since the last call.

        Raises:
            StudyError: the file can't be read, or a line other than the last is broken.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                *lines, tail = file.read().split(b"\n")
        except OSError as error:
            raise StudyError(f"the journal {self.path} can't be read: {error.strerror}") from error
        events = []
        for index, line in enumerate(lines):
            event = _decode_line(line)
            if event is None:
                if index + 1 == len(lines) and not tail:
                    break  # torn: its writer was killed, or lost power, in the middle of it
                raise StudyError(
                    f"every line of a journal but the last must match its checksum, but line "
                    f"{self._lines + 1} of {self.path} doesn't: the file was changed or damaged"
                )
            events.append(event)
            self.offset += len(line) + 1
            self._lines += 1
        return events


def read_events(path: Path) -> Iterator[Event]:
    """Return the events of a journal, in order; a torn last line is left out.

    Raises:
        StudyError: the file can't be read, or a line other than the last is broken.
    """
    return iter(JournalReader(path).poll())


class Journal:
    """The one writer of a journal; holds the study's lock until it is closed.

    Attributes:
        path: of the journal.
        events: what was in it when it was opened (the header where it was created).
    """

    def __init__(self, path: Path, lock: int, file: int, events: list[Event]) -> None:
        self.path = path
        self.events = events
        self._lock = lock
        self._file = file
        self._taken_up = len(events) > 0
        self._synced = time.monotonic()

    @classmethod
    def create(cls, path: Path, header: Event) -> "Journal":
        """Start the journal of a new study, and its folder.

        Args:
            path: of the journal; the folder that it lies in carries the study's name.
            header: the study event, journaled first.

        Raises:
            StudyError: the name is taken, or the folder can't be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            except BaseException:
                free_lock(path.parent / LOCK, lock)
                raise
        except FileExistsError:
            raise StudyError(
                f"the name {path.parent.name!r} is taken: {path} exists; "
                f"`python -m hpopt resume {path.parent.name}` goes on with it"
            ) from None
        except OSError as error:
            raise StudyError(
                f"the study's folder {path.parent} can't be written: {error.strerror}"
            ) from error
        journal = cls(path, lock, file, [])
        journal.events.append(journal.append(header))
        journal.flush()
        return journal

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open the journal of a study to go on with it; a torn last line is cut off.

        What is appended first comes after a "resumed" event, so that all can see that the time
        before it wasn't the study's.

        Raises:
            StudyError: there is no such study, another process is using it, its journal is
                broken, or it can't be written.
        """
        if not path.is_file():
            raise StudyError(f"there is no study {path.parent.name!r}: {path} doesn't exist")
        try:
            lock = _lock(path)
            try:
                reader = JournalReader(path)
                events = reader.poll()
                if not events or events[0].get("event") != "study":
                    raise StudyError(
                        f"a journal must begin with its study, but {path} doesn't: "
                        f"it was cut off at its start; delete {path.parent}"
                    )
                os.truncate(path, reader.offset)
                file = os.open(path, os.O_RDWR | os.O_APPEND)
            except BaseException:
                free_lock(path.parent / LOCK, lock)
                raise
        except OSError as error:
            raise StudyError(f"the journal {path} can't be written: {error.strerror}") from error
        return cls(path, lock, file, events)

    def append(self, event: Event) -> Event:
        """Journals an event.

        Args:
            event: JSON-able; its "time" (unix seconds) is added here.

        Returns:
            The event as journaled.

        Raises:
            StudyError: the disk is full or gone; nothing of the event stays in the file.
        """
        if self._taken_up:
            self._taken_up = False
            self.append({"event": "resumed"})
        event = {**event, "time": time.time()}
        line = encode_line(event)
        end = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise StudyError(f"the journal {self.path} can't grow: {error.strerror}") from error
        if written < len(line):
            os.ftruncate(self._file, end)
            raise StudyError(f"the journal {self.path} can't grow: the disk is full")
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.flush()
        return event

    def flush(self) -> None:
        """Wait until everything journaled so far is on the disk."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Flushes, and lets go of the study."""
        self.flush()
        os.close(self._file)
        free_lock(self.path.parent / LOCK, self._lock)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(path: Path) -> int:
    """Take the lock of the study whose journal is at `path`; the system frees it at our death."""
    try:
        file = take_lock(path.parent / LOCK, wait=False)
    except BlockingIOError:
        owner = ""
        with suppress(OSError):  # it ended just now
            owner = (path.parent / LOCK).read_text()
        raise StudyError(
            f"the study {path.parent.name!r} is in use by another process (id {owner or 'unknown'})"
        ) from None
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    return file
