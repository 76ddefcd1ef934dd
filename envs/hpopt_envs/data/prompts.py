"""Prompts that a model responds to: texts, or chats through the model's template."""

from collections.abc import Sequence
from typing import Any

from ..errors import WorldError, told
from ..settings import Source
from .chats import check_no_kwargs, given_beside, read_beside, read_messages, render
from .tables import Table
from .tokens import check_ids, plain_ids, start

PROMPT = "Return the number of items.\n\n"  # which the embedded model follows with a docstring


def encode_prompts(
    tokenizer: Any, table: Table, source: Source, vocabulary: int | None = None
) -> tuple[list[str], list[list[int]]]:
    """Return the prompts of a table as text and as ids, each with a token at least.

    Raises:
        WorldError: the column is missing or holds something else, there is no chat template, or
            no token that an empty prompt could begin with, or the model lacks a token.
    """
    (column,) = prompt_columns(source, table)
    texts, ids = [], []
    values = table.column(column, "prompt_column")
    if all(isinstance(value, str) for value in values):
        check_no_kwargs(source, table.where)
    rows = zip(table.rows, values, given_beside(table, source), strict=True)
    for number, value, beside in rows:
        where = f"{table.where}, row {number}"
        with told(f"prompt_column: {where}"):
            is_text = isinstance(value, str)
            text = value if is_text else _chat(tokenizer, value, beside)
        texts.append(text)
        ids.append(prompt_ids(tokenizer, text, begin=is_text))
        check_ids(tokenizer, ids[-1], vocabulary, where)
    return texts, ids


def prompt_columns(source: Source, table: Table) -> list[str]:
    """Return the column of prompts."""
    return [source.prompt_column or "prompt"]


def prompt_ids(tokenizer: Any, text: str, begin: bool = True) -> list[int]:
    """Return a prompt's ids: with the token that texts begin with, where the tokenizer says so.

    Raises:
        WorldError: there are none.
    """
    ids = [*(start(tokenizer) if begin else []), *plain_ids(tokenizer, text)]
    if not ids:
        first = tokenizer.bos_token_id
        first = tokenizer.eos_token_id if first is None else first
        if first is None:
            raise WorldError(
                "prompt_column: an empty prompt needs a model whose texts begin with a token"
            )
        return [first]
    return ids


def _chat(tokenizer: Any, value: Any, beside: Sequence[Any]) -> str:
    """Return a chat up to where the model is to speak."""
    messages = read_messages(value, "must be a text or a list of messages")
    return render(tokenizer, messages, read_beside(beside), prompt=True)


def line_ends(tokenizer: Any) -> list[int]:
    """Return tokens that end a line: what ends a summary."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return [token for token, text in enumerate(texts) if "\n" in text]
