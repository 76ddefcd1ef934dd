"""Files beside the record: those that others may be reading, locks, and logs that stay empty."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import uuid4


def write_whole(path: Path, text: str) -> None:
    """Write a file at once: whoever reads it finds all of the text, or what was there before.

    A link is replaced, and its target left alone.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")  # half a character is no end
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it; nothing where nothing is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_log(path: Path) -> IO[str]:
    """Open a log to write at its end, made where it is missing; a link isn't followed."""
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a")


def open_own(path: Path, flags: int) -> int:
    """Open a file that must lie where its path says, and not be a link to somewhere else.

    Raises:
        OSError: it is a link, or can't be opened.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def take_lock(path: Path, wait: bool = True) -> int:
    """Take the lock that a file stands for; the system frees it at our death.

    Args:
        path: of the file, made where it is missing.
        wait: until nobody else has it.

    Returns:
        The open file, for `free_lock`.

    Raises:
        BlockingIOError: another process has the lock, and we don't wait.
    """
    while True:
        file = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if is_at(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # freed, and with that deleted, between our opening and locking it


def free_lock(path: Path, file: int) -> None:
    """Free a lock and delete its file: those who have that open by now find out, and try anew."""
    with suppress(OSError):  # a file that stays does no harm
        if is_at(path, file):  # else somebody took it away by hand, and another has a new one
            path.unlink()
    os.close(file)


def is_at(path: Path, file: int) -> bool:
    """Return whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file))
    except (FileNotFoundError, NotADirectoryError):
        return False


def drop_empty(log: Path) -> None:
    """Delete a log that nobody writes to any more, if there is nothing in it."""
    if log.is_file() and not log.stat().st_size:
        log.unlink()
