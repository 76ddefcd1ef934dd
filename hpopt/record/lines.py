"""A line of a journal: what it says, and how one that was changed is told.

A line is its number from 0, a checksum as eight hex digits, and a JSON text, with spaces between.
The checksum is the CRC-32 of number and text, continued from that of the line before, so that a
line that is changed, missing, doubled or moved is noticed. Lines before 0.3 have no number, and a
checksum of their text alone; none of these comes after a numbered one.
"""

import json
import re
import zlib
from typing import Any

Event = dict[str, Any]

_LINE = re.compile(rb"(?:(0|[1-9][0-9]{0,14}) )?([0-9a-f]{8}) (\{.*\})", re.DOTALL)


def encode_line(event: Event) -> bytes:
    """Return one event as a line of the journals before 0.3, newline included.

    By that of the study's first event its run in MLflow is found again.
    """
    text = _text(event)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _text(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


class Chain:
    """The lines of a journal so far, as far as the next one depends on them.

    Attributes:
        lines: how many.
    """

    def __init__(self) -> None:
        self.lines = 0
        self._checksum = 0
        self._numbered = False

    def encode(self, event: Event) -> bytes:
        """Return the next line, newline included; `take` takes it in."""
        numbered = b"%d %s" % (self.lines, _text(event))
        number, _, text = numbered.partition(b" ")
        return b"%s %08x %s\n" % (number, zlib.crc32(numbered, self._checksum), text)

    def take(self, line: bytes) -> Event | None:
        """Take in the next line, without its newline, and return its event.

        Returns:
            None where the line is broken, as one that is torn may be.

        Raises:
            ValueError: another line was here, or another before it.
        """
        matched = _LINE.fullmatch(line)
        if matched is None:
            return None
        number, checksum, text = matched.groups()
        before = 0 if number is None else self._checksum
        covered = text if number is None else b"%s %s" % (number, text)
        found = zlib.crc32(covered, before)
        if number is None and self._numbered and checksum == b"%08x" % found:
            raise ValueError("has no number, as the one before has")
        if number is not None and int(number) != self.lines:
            raise ValueError(f"says that it is line {int(number) + 1}")
        if checksum != b"%08x" % found:
            return None
        try:
            event: Event = json.loads(text)
        except (ValueError, RecursionError):
            return None
        self.lines += 1
        self._checksum, self._numbered = found, number is not None
        return event
