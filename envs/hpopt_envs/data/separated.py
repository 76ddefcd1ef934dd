"""Rows whose cells are separated by commas or tabs."""

import csv
import io
import re
from typing import Any

from ..errors import WorldError

# What `str` gives back as it was, so that nothing is lost.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")

Rows = list[list[str]]  # the header first, each of as many cells


def read_csv(text: str, place: str) -> dict[str, list[Any]]:
    """Return columns of a file; cells stay text, but those of whole numbers alone.

    Args:
        text: of the file.
        place: the setting that named the file, and its path.

    Raises:
        WorldError: a row is broken, or has another number of cells than the header.
    """
    return _columns(_quoted_rows(text, ",", place), place)


def read_tsv(text: str, place: str) -> dict[str, list[Any]]:
    """Return columns of a file of tabs, like `read_csv`.

    In some of these files quotes are around cells that need them (or around all), as in CSV, and
    in others quotes are part of the text. What a writer of the first kind would write is read as
    such, unless every line by itself has as many cells as the header.
    """
    if '"' not in text:
        return _columns(_plain_rows(text, place), place)
    try:
        quoted = _quoted_rows(text, "\t", place)
    except WorldError as error:
        try:
            return _columns(_plain_rows(text, place), place)
        except WorldError:
            raise error from None
    try:
        plain = _plain_rows(text, place)
    except WorldError:
        return _columns(quoted, place)
    alone = len(quoted) == len(plain) or len(quoted[0]) == 1
    return _columns(quoted if alone and _is_written(quoted, text) else plain, place)


def _quoted_rows(text: str, delimiter: str, place: str) -> Rows:
    csv.field_size_limit(2**31 - 1)  # for documents: it is 131,072 characters at first
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: Rows = []
    line = 1
    try:
        for row in reader:
            _check_cells(row, rows, line, place)
            if row:  # an empty line is none
                rows.append(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise WorldError(
            f"{place}: the row that begins in line {line} is broken: {error}"
        ) from error
    return rows or [[]]


def _plain_rows(text: str, place: str) -> Rows:
    rows: Rows = []
    for line, written in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        row = written.split("\t") if written else []
        _check_cells(row, rows, line, place)
        if row:
            rows.append(row)
    return rows or [[]]


def _check_cells(row: list[str], rows: Rows, line: int, place: str) -> None:
    if rows and row and len(row) != len(rows[0]):
        raise WorldError(
            f"{place}, line {line}: must have {len(rows[0])} cells, as the header does, "
            f"but has {len(row)}"
        )


def _is_written(rows: Rows, text: str) -> bool:
    """Return whether a writer that quotes what needs it, or all, or all text, would write this."""
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line]
    header, *cells = rows
    columns = [_native([row[i] for row in cells]) for i in range(len(header))]
    native = [header, *map(list, zip(*columns, strict=True))]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC):
        written = io.StringIO()
        csv.writer(written, delimiter="\t", quoting=quoting, lineterminator="\n").writerows(native)
        if [line for line in written.getvalue().split("\n") if line] == lines:
            return True
    return False


def _columns(rows: Rows, place: str) -> dict[str, list[Any]]:
    header, *cells = rows
    if len(set(header)) < len(header):
        raise WorldError(f"{place}: must name every column once, but has {header}")
    return {name: _native([row[i] for row in cells]) for i, name in enumerate(header)}


def _native(cells: list[str]) -> list[Any]:
    return [int(cell) for cell in cells] if all(map(_INTEGER.fullmatch, cells)) else cells
