"""Rows of data from files of a user's.

A file is read by its ending: .csv, .tsv, .json and .jsonl (objects one after the other, or one
array of them), .parquet, and .txt, .md and the like as text, whose rows are the blocks between
blank lines. Cells of a CSV file stay what they are, "NA" too; a column of whole numbers alone
becomes `int`s.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import WorldError, foreign
from .json_rows import read_json
from .separated import read_csv, read_tsv

# Endings of prose and code.
_TEXT = {"", ".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".html", ".py", ".log"}


@dataclass(frozen=True)
class Table:
    """Rows of a split.

    Attributes:
        columns: by name, all of the same length.
        where: the file or data set that the rows are from, for messages.
        numbers: of the rows, counted from 1; None where they are all of those in `where`.
        note: what a user should be told of where the rows are from.
    """

    columns: Mapping[str, Sequence[Any]]
    where: str
    numbers: Sequence[int] | None = None
    note: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def rows(self) -> Sequence[int]:
        """Numbers of the rows, counted from 1."""
        return self.numbers or range(1, len(self) + 1)

    def column(self, name: str, setting: str, skip_empty: bool = False) -> list[Any]:
        """Return the values of a column.

        Args:
            name: of the column.
            setting: that named it.
            skip_empty: leave rows out that have nothing in it.

        Raises:
            WorldError: there is no such column, or a row has nothing in it, and wasn't to be left
                out.
        """
        if name not in self.columns:
            raise WorldError(
                f"{setting}: {self.where} must have a column {name!r}, but has "
                f"{', '.join(map(repr, self.columns))}"
            )
        values = list(self.columns[name])
        if skip_empty:
            return [value for value in values if not is_empty(value)]
        for number, value in zip(self.rows, values, strict=True):
            if is_empty(value):
                raise WorldError(
                    f"{setting}: {self.where} must have something in every row of column "
                    f"{name!r}, but row {number} is empty"
                )
        return values

    def take(self, rows: Sequence[int]) -> "Table":
        """Return some of the rows, counted from 0."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return replace(self, columns=columns, numbers=[self.rows[row] for row in rows])


def is_empty(value: Any) -> bool:
    """Return whether a cell has nothing in it, or blanks alone."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value == [] or bool(value != value)  # NaN alone isn't itself


def read_table(path: str, setting: str) -> Table:
    """Read a file.

    Args:
        path: of the file.
        setting: that named it.

    Raises:
        WorldError: it can't be read, isn't what its ending says, has an ending that says nothing,
            or has no rows.
    """
    place, ending = f"{setting}: {path}", Path(path).suffix.lower()
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WorldError(
            f"{setting}: must be a file that can be read, but got {path!r}: {error.strerror}"
        ) from error
    columns: dict[str, list[Any]]
    if not is_readable(path):
        known = ", ".join(sorted({*_READERS, *_TEXT, ".parquet"} - {""}))
        raise WorldError(f"{place}: must end in one of {known}")
    if not content:
        columns = {}
    elif ending == ".parquet":
        columns = _read_parquet(path, setting)
    else:
        columns = _READERS.get(ending, _read_text)(_decode(content, place), place)
    return with_rows(Table(columns, path), setting)


def is_readable(path: str) -> bool:
    """Return whether a file's ending says how it is read."""
    return Path(path).suffix.lower() in (*_READERS, *_TEXT, ".parquet")


def with_rows(table: Table, setting: str) -> Table:
    """Return the table, if it has a row.

    Raises:
        WorldError: it has none.
    """
    if not len(table):
        raise WorldError(f"{setting}: {table.where} must have at least one row, but has none")
    return table


def _decode(content: bytes, place: str) -> str:
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WorldError(
            f"{place}, line {line}: must be UTF-8, but byte {error.start} is "
            f"0x{content[error.start]:02x} ({error.reason})"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise WorldError(f"{place}, line {line}: must be text in UTF-8, but has a null byte")
    return text if "\n" in text else text.replace("\r", "\n")  # as old Macs end lines


def _read_parquet(path: str, setting: str) -> dict[str, list[Any]]:
    from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

    with foreign(f"{setting}: reading {path}"):
        return without_gaps(ParquetFile(path).read().to_pydict())


def without_gaps(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return columns of Arrow's as their rows were written.

    In Arrow all objects of a column have the same keys; those that an object didn't have are None.
    """

    def written(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: written(inner) for name, inner in value.items() if inner is not None}
        return [written(inner) for inner in value] if isinstance(value, list) else value

    return {name: [written(value) for value in values] for name, values in columns.items()}


def _read_text(text: str, place: str) -> dict[str, list[Any]]:
    _check_prose(text, place)
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    return {"text": [block.strip("\n") for block in blocks if block.strip()]}


def _check_prose(text: str, place: str) -> None:
    """Make sure that a file of text isn't one of JSON with another ending.

    Raises:
        WorldError: its first line is an object, or all of it is an array of these.
    """
    begin = text.lstrip()
    first = begin.partition("\n")[0] if begin[:1] == "{" else begin
    if not re.match(r"\{|\[\s*\{", first):
        return
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return
    raise WorldError(f"{place}: must be text, but begins with a JSON object: name it .jsonl")


_READERS: Mapping[str, Callable[[str, str], dict[str, list[Any]]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".jsonlines"), read_json),
}
