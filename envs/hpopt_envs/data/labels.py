"""Classes: what may be one, how it is called, and splits that have none."""

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..errors import WorldError
from .tables import Table, is_empty

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
HIDDEN = "-1"  # the label of rows whose class is kept secret


def name_classes(table: Table, column: str) -> Table:
    """Return a table with the names of classes in a column; None where there is nothing.

    Whole numbers are called "1", however they are written: 1, 1.0 or "1.0". Blanks around a name
    aren't part of it.

    Raises:
        WorldError: something in it is no class: a list, an object, a number with a fraction; or
            only some are true or false.
    """
    if column not in table.columns:
        return table
    values = table.columns[column]
    there = [value for value in values if not is_empty(value)]
    numeric = all(map(_is_number, there))
    truths = any(isinstance(value, bool) for value in there)
    names = []
    for number, value in zip(table.rows, values, strict=True):
        if isinstance(value, list | dict | bytes):
            what = f"{value!r:.60}"
        elif numeric and not is_empty(value) and not _is_whole(value):
            what = f"{value}, a number with a fraction; classes must be names or whole numbers"
        elif truths and not is_empty(value) and not isinstance(value, bool):
            what = f"{value!r:.60}, where others have true or false"
        else:
            names.append(None if is_empty(value) else _name(value, numeric))
            continue
        raise WorldError(
            f"label_column: {table.where} must have one class a row in column {column!r}, but row "
            f"{number} has {what}; label_column=NAME names another one"
        )
    return replace(table, columns={**table.columns, column: names})


def in_order(names: Iterable[str]) -> list[str]:
    """Return classes in order: whole numbers as numbers, anything else as text."""
    found = set(names)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def is_answered(table: Table, train: Table, column: str) -> bool:
    """Return whether a split has something in a column, and not -1 alone, which train hasn't."""
    found = {str(v) for v in table.columns.get(column, ()) if not is_empty(v)}
    if found == {HIDDEN}:
        return HIDDEN in {str(value) for value in train.columns.get(column, ())}
    return bool(found)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return _NUMBER.fullmatch(value.strip()) is not None
    return hasattr(value, "__float__") and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return math.isfinite(float(value)) and float(value).is_integer()


def _name(value: Any, numeric: bool) -> str:
    has_point = "." in value if isinstance(value, str) else not isinstance(value, int)
    return str(int(float(value))) if numeric and has_point else str(value).strip()
