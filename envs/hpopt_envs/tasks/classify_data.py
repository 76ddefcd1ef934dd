"""Texts with a class as token ids; of two texts, which one a token is in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data.tables import Table
from ..data.tokens import check_ids
from ..errors import WorldError
from .lm_data import texts

Encoded = tuple[list[int], list[int]]  # token ids, and 1 where one is in the second text


@dataclass(frozen=True)
class Labeled:
    """Rows of a split.

    Attributes:
        texts: of one column or two, as many each.
        labels: of the rows.
        name: of the split.
        table: that the rows are from; None where they are embedded.
    """

    texts: Sequence[list[str]]
    labels: list[str]
    name: str
    table: Table | None = None


def read_labeled(table: Table, columns: Sequence[str], label: str, name: str) -> Labeled:
    """Return a table's texts and their classes.

    Args:
        table: of `read_splits`, with names of classes.
        columns: of the texts.
        label: the column of classes.
        name: of the split.

    Raises:
        WorldError: a column is missing or holds something else, or there are more than two.
    """
    if len(columns) > 2:
        raise WorldError(f"text_column: must be one column, or two, but got {','.join(columns)}")
    read = [texts(table, column, "text_column") for column in columns]
    return Labeled(read, table.column(label, "label_column"), name, table)


def encode_texts(
    tokenizer: Any, rows: Labeled, vocabulary: int | None = None, longest: int | None = None
) -> list[Encoded]:
    """Return token ids of texts, or of two in a row: as the tokenizer puts them, else on two lines.

    Args:
        tokenizer: of the model.
        rows: of a split.
        vocabulary: see `check_ids`.
        longest: tokens that what is longer is cut to; None cuts nothing.

    Raises:
        WorldError: a text has no token, or one that the model lacks.
    """
    columns = rows.texts
    if len(columns) == 2 and not _separates(tokenizer):
        columns = [list(map("\n".join, zip(*columns, strict=True)))]
    encoded = tokenizer(*columns, truncation=longest is not None, max_length=longest, verbose=False)
    found = encoded["input_ids"]
    second = encoded.get("token_type_ids") or [[0] * len(ids) for ids in found]
    for row, ids in enumerate(found):
        if not ids:
            raise WorldError(
                f"text_column: every text of {rows.name} must have a token, but "
                f"{columns[0][row]!r:.60} has none"
            )
        if rows.table is not None:
            where = f"{rows.table.where}, row {rows.table.rows[row]}"
            check_ids(tokenizer, ids, vocabulary, where)
    return list(zip(found, second, strict=True))


def _separates(tokenizer: Any) -> bool:
    """Return whether a tokenizer puts something between two texts."""
    alone, both = (tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True))
    return bool(both > alone)
