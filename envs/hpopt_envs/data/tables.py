"""Rows of data from files of a user's.

A file is read by its ending: .csv, .tsv, .json and .jsonl (objects one after the other, or one
array of them), .parquet, and anything else as text, whose rows are the blocks between blank lines.
Cells of a CSV file stay what they are, "NA" too; a column of whole numbers alone becomes `int`s.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import WorldError, foreign

# What `str` gives back as it was, so that nothing is lost.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Table:
    """Rows of a split.

    Attributes:
        columns: by name, all of the same length.
        where: the file or data set that the rows are from, for messages.
        numbers: of the rows, counted from 1; None where they are all of those in `where`.
    """

    columns: Mapping[str, Sequence[Any]]
    where: str
    numbers: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

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
            return [value for value in values if not _is_empty(value)]
        for row, value in enumerate(values):
            if _is_empty(value):
                number = (self.numbers or range(1, len(self) + 1))[row]
                raise WorldError(
                    f"{setting}: {self.where} must have something in every row of column "
                    f"{name!r}, but row {number} is empty"
                )
        return values

    def take(self, rows: Sequence[int]) -> "Table":
        """Return some of the rows, counted from 0."""
        numbers = self.numbers or range(1, len(self) + 1)
        return Table(
            {name: [values[row] for row in rows] for name, values in self.columns.items()},
            self.where,
            [numbers[row] for row in rows],
        )


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", []) or bool(value != value)  # NaN alone isn't itself


def read_table(path: str, setting: str) -> Table:
    """Read a file.

    Args:
        path: of the file.
        setting: that named it.

    Raises:
        WorldError: it can't be read, isn't what its ending says, or has no rows.
    """
    place, ending = f"{setting}: {path}", Path(path).suffix.lower()
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WorldError(
            f"{setting}: must be a file that can be read, but got {path!r}: {error.strerror}"
        ) from error
    columns: dict[str, list[Any]]
    if not content:
        columns = {}
    elif ending == ".parquet":
        columns = _read_parquet(path, setting)
    elif ending in (".csv", ".tsv"):
        columns = _read_csv(_decode(content, place), "," if ending == ".csv" else "\t", place)
    elif ending in (".json", ".jsonl"):
        columns = _read_json(_decode(content, place), place)
    else:
        columns = {"text": _blocks(_decode(content, place))}
    return with_rows(Table(columns, path), setting)


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
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WorldError(
            f"{place}, line {line}: must be UTF-8, but byte {error.start} is "
            f"0x{content[error.start]:02x} ({error.reason})"
        ) from error


def _read_csv(text: str, delimiter: str, place: str) -> dict[str, list[Any]]:
    csv.field_size_limit(2**31 - 1)  # for documents: it is 131,072 characters at first
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    line = 1
    try:
        for row in reader:
            if rows and row and len(row) != len(rows[0]):
                raise WorldError(
                    f"{place}, line {line}: must have {len(rows[0])} cells, as the header does, "
                    f"but has {len(row)}"
                )
            if row:  # an empty line is none
                rows.append(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise WorldError(
            f"{place}: the row that begins in line {line} is broken: {error}"
        ) from error
    header, *cells = rows or [[]]
    if len(set(header)) < len(header):
        raise WorldError(f"{place}: must name every column once, but has {header}")
    return {name: _native([row[i] for row in cells]) for i, name in enumerate(header)}


def _native(cells: list[str]) -> list[Any]:
    return [int(cell) for cell in cells] if all(map(_INTEGER.fullmatch, cells)) else cells


def _read_json(text: str, place: str) -> dict[str, list[Any]]:
    rows: list[Any] = []
    is_array = text.lstrip().startswith("[")
    for line, part in enumerate([text] if is_array else text.split("\n"), 1):
        if part.strip():
            try:
                value = json.loads(part)
            except json.JSONDecodeError as error:
                raise WorldError(
                    f"{place}, line {line + error.lineno - 1}: must be JSON, but {error.msg} "
                    f"(character {error.colno})"
                ) from error
            rows += value if is_array else [value]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise WorldError(
                f"{place}: every row must be an object, but row {number} is {row!r:.50}"
            )
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: str, setting: str) -> dict[str, list[Any]]:
    from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

    with foreign(f"{setting}: reading {path}"):
        columns: dict[str, list[Any]] = ParquetFile(path).read().to_pydict()
    return columns


def _blocks(text: str) -> list[str]:
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    return [block.strip("\n") for block in blocks if block.strip()]
