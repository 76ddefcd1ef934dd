"""A CSV file of somebody's: its rows as texts, and as numbers where they are."""

import csv
import hashlib
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpopt_search_spaces import Value

from ..errors import WorldError

FOLDER = "HPOPT_TABLES"  # names a folder of tables
TASK = "task"  # the column that every table has
Row = tuple[int, Mapping[str, str]]  # a line's number, and its cells by column


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes:
        file: as it was asked for.
        columns: in order.
        rows: at least one.
        hash: sha256 of the file.
    """

    file: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    hash: str

    @property
    def tasks(self) -> list[str]:
        """Those of the rows, in order."""
        return list(dict.fromkeys(row[TASK] for _, row in self.rows))


def read_table(file: str) -> Table:
    """Read a table, looked for in the working directory, then in the folder of HPOPT_TABLES.

    Raises:
        WorldError: there is no such file, or it is no table.
    """
    folder = os.environ.get(FOLDER)
    places = [Path(file), *([Path(folder) / file] if folder else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        where = folder or f"a folder that {FOLDER} names, which isn't set"
        raise WorldError(f"task: there is no {file!r} in the working directory or in {where}")
    try:
        content = path.read_bytes()
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = tuple((reader.line_num, row) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorldError(f"{file}: must be a CSV file in UTF-8, but got: {error}") from None
    table = Table(file, tuple(reader.fieldnames or ()), rows, hashlib.sha256(content).hexdigest())
    _check(table)
    return table


def _check(table: Table) -> None:
    file, columns, rows = table.file, table.columns, table.rows
    if TASK not in columns or len(set(columns)) < len(columns) or not rows:
        raise WorldError(
            f"{file}: must have rows and different columns, {TASK!r} among them, but has "
            f"{len(rows)} rows of {', '.join(columns) or 'nothing'}"
        )
    for name in columns:
        if not name.isidentifier():
            raise WorldError(f"{file}: a column's name must be an identifier, but got {name!r}")
    for line, row in rows:
        if None in row or None in row.values():
            raise WorldError(
                f"{file}: line {line} must have {len(columns)} cells, as the first has"
            )


def parse_column(texts: Sequence[str]) -> list[Value]:
    """Return whole numbers, else numbers, else texts: the first that all of them are, but ""."""
    kinds: tuple[Callable[[str], int | float], ...] = (int, float)
    for kind in kinds:
        with suppress(ValueError, OverflowError):
            numbers = [kind(text) if text else "" for text in texts]
            if all(number == "" or math.isfinite(float(number)) for number in numbers):
                return list(numbers)
    return list(texts)


def parse_cell(file: str, line: int, column: str, text: str) -> float:
    """Return a cell as a number.

    Raises:
        WorldError: it isn't one.
    """
    try:
        return float(text)
    except ValueError:
        raise WorldError(
            f"{file}: line {line} must have a number as {column}, but has {text!r}"
        ) from None
