"""The journal of a study: append-only, checksummed lines that hold everything that happened.

Each line is one write, so a process that is killed leaves at most one torn line, the last, which
is cut off when the journal is opened again. A broken line anywhere else means that the file was
damaged.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..commands import resume_command
from ..errors import Paused, StudyError
from .files import free_lock, is_at, open_own, take_lock
from .lines import Chain, Event

LOCK = "lock"  # beside the journal while somebody writes it

SYNC_SECONDS = 1.0  # a power cut costs at most this much; a killed process costs nothing


class JournalReader:
    """Reads a journal that somebody else may be writing.

    Attributes:
        path: of the journal.
        offset: bytes read so far: the end of the last whole line.
        chain: of the lines read so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.chain = Chain()

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
            try:
                event = self.chain.take(line)
            except ValueError as error:
                raise self._broken(str(error)) from None
            if event is None:
                if index + 1 == len(lines) and not tail:
                    break  # torn: its writer was killed, or lost power, in the middle of it
                raise self._broken("doesn't")
            events.append(event)
            self.offset += len(line) + 1
        return events

    def _broken(self, how: str) -> StudyError:
        return StudyError(
            f"every line of a journal but the last must match its number and its checksum, but "
            f"line {self.chain.lines + 1} of {self.path} {how}: the file was changed or damaged"
        )


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

    def __init__(self, lock: int, file: int, reader: JournalReader, events: list[Event]) -> None:
        self.path = reader.path
        self.events = events
        self._lock = lock
        self._file = file
        self._chain = reader.chain
        self._end = reader.offset
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
                file = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
            except BaseException:
                free_lock(path.parent / LOCK, lock)
                raise
        except FileExistsError:
            raise StudyError(
                f"the name {path.parent.name!r} is taken: {path} exists; "
                f"`{resume_command(path.parent.name, str(path.parent.parent))}` goes on with it"
            ) from None
        except OSError as error:
            raise StudyError(
                f"the study's folder {path.parent} can't be written: {error.strerror}"
            ) from error
        journal = cls(lock, file, JournalReader(path), [])
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
                file = open_own(path, os.O_RDWR | os.O_APPEND)
                os.ftruncate(file, reader.offset)
            except BaseException:
                free_lock(path.parent / LOCK, lock)
                raise
        except OSError as error:
            raise StudyError(f"the journal {path} can't be written: {error.strerror}") from error
        return cls(lock, file, reader, events)

    def append(self, event: Event) -> Event:
        """Journal an event.

        Args:
            event: JSON-able; its "time" (unix seconds) is added here.

        Returns:
            The event as journaled.

        Raises:
            Paused: the disk is full or gone; nothing of the event stays in the file.
            StudyError: the journal, its folder or its lock was taken away or changed by others.
        """
        if self._taken_up:
            self._taken_up = False
            self.append({"event": "resumed"})
        event = {**event, "time": time.time()}
        line = self._chain.encode(event)
        self._check_ours()
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise Paused(f"the journal {self.path} can't grow: {error.strerror}") from error
        if written < len(line):
            os.ftruncate(self._file, self._end)
            raise Paused(f"the journal {self.path} can't grow: the disk is full")
        self._end += written
        self._chain.take(line[:-1])
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.flush()
        return event

    def _check_ours(self) -> None:
        """Make sure that what is written still comes where others look for it, and is ours alone.

        Raises:
            StudyError: it isn't.
        """
        lock = self.path.parent / LOCK
        for path, file in ((self.path, self._file), (lock, self._lock)):
            if not is_at(path, file):
                raise StudyError(
                    f"{path} must stay where it is while its study runs, but it was taken away or "
                    "replaced: nothing more is written"
                )
        length = os.fstat(self._file).st_size
        if length != self._end:
            raise StudyError(
                f"the journal {self.path} must grow by its own study alone, but has {length:,} "
                f"bytes in place of {self._end:,}: nothing more is written"
            )

    def flush(self) -> None:
        """Wait until everything journaled so far is on the disk.

        Raises:
            Paused: it can't be.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise Paused(f"the journal {self.path} can't grow: {error.strerror}") from error
        self._synced = time.monotonic()

    def close(self) -> None:
        """Flush, and let go of the study."""
        try:
            self.flush()
        finally:
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
    with suppress(OSError):  # on a full disk nobody learns who has it
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
    return file
