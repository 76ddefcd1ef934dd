"""Rows of JSON: objects one after the other, or one array of them."""

import json
from typing import Any

from ..errors import WorldError


def read_json(text: str, place: str) -> dict[str, list[Any]]:
    """Return columns of a file; an object that lacks one has None there.

    Args:
        text: of the file.
        place: the setting that named the file, and its path.

    Raises:
        WorldError: it isn't JSON, or has something else than objects, or half a character.
    """
    rows: list[Any] = []
    halves = "\\ud" in text or "\\uD" in text  # of characters, perhaps
    is_array = text.lstrip().startswith("[")
    for line, part in enumerate([text] if is_array else text.split("\n"), 1):
        if part.strip():
            value = _parse(part, line, place)
            values = value if is_array else [value]
            for number, row in enumerate(values if halves else (), 1):
                _check_characters(
                    row, f"{place}, " + (f"row {number}" if is_array else f"line {line}")
                )
            rows += values
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise WorldError(
                f"{place}: every row must be an object, but row {number} is {row!r:.50}"
            )
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _parse(part: str, line: int, place: str) -> Any:
    try:
        return json.loads(part)
    except json.JSONDecodeError as error:
        raise WorldError(
            f"{place}, line {line + error.lineno - 1}: must be JSON, but {error.msg} "
            f"(character {error.colno})"
        ) from error
    except (ValueError, RecursionError) as error:  # a number too long, objects too deep
        said = str(error).partition(";")[0]
        raise WorldError(f"{place}, line {line}: must be JSON that can be read: {said}") from error


def _check_characters(value: Any, place: str) -> None:
    r"""Make sure that no text has half a character, such as "\ud83d" without what belongs to it.

    Raises:
        WorldError: one has: nothing can encode it.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise WorldError(
            f"{place}: must have whole characters, but has half of one, \\u{half:04x}"
        ) from None
