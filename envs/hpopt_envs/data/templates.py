"""Texts made of a row's columns: "summarize: {document}"."""

import re
from collections.abc import Sequence
from string import Formatter
from typing import Any

from ..errors import WorldError
from .tables import Table, is_empty

_FIELD = re.compile(r"([^\[\].]+)((?:\[[^\[\]]+\])*)")  # a column, and keys into what is in it


def fill(template: str, table: Table, setting: str) -> list[str]:
    """Return a template's text for each row, where an empty cell beside others makes nothing.

    Args:
        template: text with columns in braces; "{translation[en]}" is an entry of a mapping in a
            column, "{answers[0]}" one of a list, counted from 0, "{{" a brace.
        table: the rows.
        setting: that the template is the value of.

    Raises:
        WorldError: it isn't such a template, or names what isn't there, or a row has nothing for
            any of its columns.
    """
    parts = _parse(template, setting)
    named = [(name, keys) for _, name, keys in parts if name]
    for name, _ in named:
        if name not in table.columns:
            table.column(name, setting)  # says which columns there are
    texts = []
    for row in range(len(table)):
        found = []
        for name, keys in named:
            try:
                found.append(_look_up(table.columns[name][row], keys))
            except LookupError as error:
                raise _missing(setting, table, row, name, error.args[0]) from None
        if not any(found):
            raise _missing(setting, table, row, named[-1][0], _a_text(named[-1][1]))
        pieces = iter(found)
        texts.append("".join(said + (next(pieces) if name else "") for said, name, _ in parts))
    return texts


def _missing(setting: str, table: Table, row: int, name: str, what: str) -> WorldError:
    return WorldError(
        f"{setting}: {table.where} must have {what} in column {name!r}, but row "
        f"{table.rows[row]} has {table.columns[name][row]!r:.60}"
    )


def _a_text(keys: Sequence[str]) -> str:
    return "a text" + "".join(f" at {key!r}" for key in keys[-1:])


def _look_up(value: Any, keys: Sequence[str]) -> str:
    """Return the text at the end of keys, "" where nothing is there.

    Raises:
        LookupError: with what must be there.
    """
    for key in keys:
        if is_empty(value):
            return ""
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise LookupError(repr(key))
    if isinstance(value, list | dict | bytes) and value != []:
        raise LookupError(_a_text(keys))
    return "" if is_empty(value) else str(value)


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
