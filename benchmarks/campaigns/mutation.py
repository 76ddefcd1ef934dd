"""Bytes of a file changed at random."""

import re
from random import Random

HOSTILE = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n\n", b"\t", b"\\", b"\\ud83d"),
    *(b"[", b"{", b'"', b"'", b"''' ", b"=", b".", b",", b"#", b"[[1]]", b"{a=1}", b"{}"),
    *(b"nan", b"-inf", b"-1", b"0", b"1e999", b"9" * 5000, b"0x" + b"f" * 300, b"1979-05-27"),
    *(b"true", b"null", b"[" * 5000, "é\u2028\u202e".encode(), b"\xc0\x80", b"x" * 5000),
)
NUMBERS = (
    *(b"0", b"-1", b"3", b"0.5", b"1e308", b"1e-320", b"nan", b"inf", b"true", b'"x"', b"9" * 30),
    *(b"9" * 5000, b"0x" + b"f" * 300, b"[]", b"{}"),
)
_NUMBER = re.compile(rb"-?\d+(\.\d+)?(e-?\d+)?")


def mutated(data: bytes, draw: Random) -> bytes:
    """Return the bytes with one to eight changes."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        data = draw.choice(_CHANGES)(data or b"x", draw)
    return data


def flipped(data: bytes, draw: Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def _span(data: bytes, draw: Random) -> tuple[int, int]:
    first = draw.randrange(len(data))
    return first, min(len(data), first + draw.randrange(1, 40))


def _dropped(data: bytes, draw: Random) -> bytes:
    first, last = _span(data, draw)
    return data[:first] + data[last:]


def _doubled(data: bytes, draw: Random) -> bytes:
    first, last = _span(data, draw)
    return data[:last] + data[first:]


def _replaced(data: bytes, draw: Random) -> bytes:
    first, last = _span(data, draw)
    return data[:first] + draw.choice(HOSTILE) + data[draw.choice((first, last)) :]


def _cut(data: bytes, draw: Random) -> bytes:
    return data[: draw.randrange(len(data))]


def _lines(data: bytes, draw: Random) -> bytes:
    return b"".join(moved_lines(data.splitlines(keepends=True), draw))


def moved_lines(lines: list[bytes], draw: Random) -> list[bytes]:
    """Return lines with one dropped, doubled or moved, or all in another order."""
    lines, one, other = lines.copy(), draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[one]
        case 1:
            lines.insert(other, lines[one])
        case 2:
            lines.insert(other, lines.pop(one))
        case 3:
            draw.shuffle(lines)
    return lines


def _numbers(data: bytes, draw: Random) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    number = draw.choice(found)
    return data[: number.start()] + draw.choice(NUMBERS) + data[number.end() :]


_CHANGES = (flipped, _dropped, _doubled, _replaced, _cut, _lines, _numbers)
