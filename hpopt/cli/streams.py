"""Standard streams that never end a study: what can't be shown isn't."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Forgiving:
    """A text stream whose errors are forgotten, but for a reader who has seen enough.

    Args:
        stream: where text goes, until that fails; then it goes nowhere.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write out what was written."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        self.silence()

    def silence(self) -> None:
        """Lose all that is written from now on, and what wasn't written out."""
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        except (OSError, ValueError):  # no file, or a closed one
            self._stream = io.StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Let standard output and error take everything: what they can't encode becomes "?"."""
    before = sys.stdout, sys.stderr
    _open_closed()
    try:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)
            elif isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
            setattr(sys, name, Forgiving(stream))
        yield
    finally:
        for name in ("stdout", "stderr"):
            forgiving = getattr(sys, name)
            try:
                forgiving.flush()
            except BrokenPipeError:  # `| head` has seen enough
                forgiving.silence()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Give the three standard files a place, which what is opened next would get otherwise."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
