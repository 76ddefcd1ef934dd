"""Prompts that a model responds to: texts, or chats through the model's template."""

from typing import Any

from ..errors import WorldError
from ..settings import Source
from .tables import Table

PROMPT = "Return the number of items.\n\n"  # which the embedded model follows with a docstring


def encode_prompts(
    tokenizer: Any, table: Table, source: Source
) -> tuple[list[str], list[list[int]]]:
    """Return the prompts of a table as text and as ids, each with a token at least.

    Raises:
        WorldError: the column is missing or holds something else, there is no chat template, or
            no token that an empty prompt could begin with.
    """
    column = source.prompt_column or "prompt"
    texts, ids = [], []
    values = table.column(column, "prompt_column")
    for number, value in zip(table.numbers or range(1, len(table) + 1), values, strict=True):
        where = f"prompt_column: {table.where}, row {number}"
        text = value if isinstance(value, str) else _chat(tokenizer, value, where)
        texts.append(text)
        ids.append(prompt_ids(tokenizer, text, begin=isinstance(value, str)))
    return texts, ids


def prompt_ids(tokenizer: Any, text: str, begin: bool = True) -> list[int]:
    """Return a prompt's ids: with the token that texts begin with, where the tokenizer says so.

    Raises:
        WorldError: there are none.
    """
    first = tokenizer("a")["input_ids"][:1]
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if begin and first == [tokenizer.bos_token_id]:
        return [*first, *ids]
    if not ids:
        start = tokenizer.bos_token_id
        start = tokenizer.eos_token_id if start is None else start
        if start is None:
            raise WorldError(
                "prompt_column: an empty prompt needs a model whose texts begin with a token"
            )
        return [start]
    return ids


def _chat(tokenizer: Any, messages: Any, where: str) -> str:
    """Return a chat up to where the model is to speak."""
    is_list = isinstance(messages, list) and all(isinstance(m, dict) for m in messages)
    if not is_list:
        raise WorldError(f"{where}: must be a text or a list of messages, got {messages!r:.60}")
    if not getattr(tokenizer, "chat_template", None):
        raise WorldError(f"{where}: messages need a tokenizer with a chat template")
    try:
        text: str = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
    except Exception as error:  # a template has errors of its own
        raise WorldError(f"{where}: {str(error).partition(chr(10))[0]}") from error
    return text


def line_ends(tokenizer: Any) -> list[int]:
    """Tokens that end a line: what ends a summary."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return [token for token, text in enumerate(texts) if "\n" in text]
