"""Texts made of a row's columns: "summarize: {document}"."""

import re
from collections.abc import Sequence
from string import Formatter
from typing import Any

from ..errors import WorldError
from .tables import Table

_FIELD = re.compile(r"([^\[\].]+)((?:\[[^\[\]]+\])*)")  # a column, and keys into what is in it


def fill(template: str, table: Table, setting: str) -> list[str]:
    """Return a template's text for each row.

    Args:
        template: text with columns in braces; "{translation[en]}" is an entry of a mapping in a
            column, "{answers[0]}" one of a list, counted from 0, "{{" a brace.
        table: the rows.
        setting: that the template is the value of.

    Raises:
        WorldError: it isn't such a template, or names what isn't there.
    """
    parts = _parse(template, setting)
    columns = {name: table.column(name, setting) for _, name, _ in parts if name}
    numbers, texts = table.numbers or range(1, len(table) + 1), []
    for row, number in enumerate(numbers):
        text = ""
        for literal, name, keys in parts:
            text += literal
            if name:
                try:
                    text += _look_up(columns[name][row], keys)
                except LookupError as error:
                    raise WorldError(
                        f"{setting}: {table.where} must have {error.args[0]} in column {name!r}, "
                        f"but row {number} has {columns[name][row]!r:.60}"
                    ) from None
        texts.append(text)
    return texts


def _look_up(value: Any, keys: Sequence[str]) -> str:
    """Return the text at the end of keys.

    Raises:
        LookupError: with what must be there.
    """
    for key in keys:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise LookupError(repr(key))
    if value is None or value == "" or isinstance(value, list | dict | bytes):
        raise LookupError("a text" + "".join(f" at {key!r}" for key in keys[-1:]))
    return str(value)


def _parse(template: str, setting: str) -> list[tuple[str, str, list[str]]]:
    """Return what stands before a column, the column ("" at the end), and keys."""
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise WorldError(f"{setting}: {template!r} must be a template: {error}") from None
    parts = []
    for literal, field, form, conversion in pieces:
        found = _FIELD.fullmatch(field) if field else None
        if field is not None and (found is None or form or conversion):
            raise WorldError(
                f"{setting}: {template!r} must have columns in braces, such as {{document}} or "
                f"{{translation[en]}}, but has {{{field}}}"
            )
        keys = re.findall(r"\[([^\[\]]+)\]", found[2]) if found else []
        parts.append((literal, found[1] if found else "", keys))
    if not any(name for _, name, _ in parts):
        raise WorldError(f"{setting}: {template!r} must have a column in braces")
    return parts
