"""From text to tensors: packed documents, and rows of which a part is to be learnt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..data.chats import check_no_kwargs, given_beside, is_chat, read_beside, read_messages
from ..data.sources import text_columns
from ..data.tables import Table, is_empty
from ..data.tokens import check_ids, join, plain_ids, start
from ..errors import WorldError, told
from ..settings import Source
from .chat_data import Row, encode_chat
from .data import Split

IGNORED = -100  # the target that `cross_entropy` leaves out


def texts(table: Table, name: str, setting: str, skip_empty: bool = False) -> list[str]:
    """Return a column as text, numbers written out.

    Raises:
        WorldError: see `Table.column`; or something else is in it.
    """
    values = table.column(name, setting, skip_empty)
    for value in values:
        if isinstance(value, list | dict | bytes):
            number = table.rows[list(table.columns[name]).index(value)]
            hint = "; task lm reads chats" if is_chat(value) and value else ""
            raise WorldError(
                f"{setting}: {table.where} must have text in column {name!r}, but row {number} "
                f"has {value!r:.60}{hint}"
            )
    return [str(value) for value in values]


def tokenize(tokenizer: Any, documents: list[str]) -> torch.Tensor:
    """Return the ids of documents in a row, each followed by the end-of-text token: (tokens,)."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    encoded = tokenizer(documents, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor([token for ids in encoded for token in (*ids, *end)])


def check_documents(tokenizer: Any, table: Table, name: str, vocabulary: int) -> None:
    """Make sure that a model has embeddings for the tokens of documents; see `check_ids`."""
    for number, value in zip(table.rows, table.columns[name], strict=True):
        if not is_empty(value):
            ids = plain_ids(tokenizer, str(value))
            check_ids(tokenizer, ids, vocabulary, f"{table.where}, row {number}")


def cut(ids: torch.Tensor, sequence_length: int) -> Split:
    """Return sequences of one length, shuffled so that the first ones are a sample of all."""
    sequences = ids[: len(ids) // sequence_length * sequence_length].view(-1, sequence_length)
    return {"input_ids": sequences[shuffled(len(sequences))]}


def pack(tokenizer: Any, documents: list[str], sequence_length: int, where: str) -> Split:
    """Return documents as sequences of one length.

    Raises:
        WorldError: they are shorter than one sequence.
    """
    ids = tokenize(tokenizer, documents)
    if len(ids) < sequence_length:
        raise WorldError(
            f"sequence_length: must be at most {len(ids)}, the tokens of {where}, "
            f"but got {sequence_length}"
        )
    return cut(ids, sequence_length)


def encode_rows(
    tokenizer: Any, table: Table, source: Source, vocabulary: int | None = None
) -> list[Row]:
    """Return prompts and completions, or chats, as ids; completions alone are to be learnt.

    Prompts and completions may be chats, too. A chat may become several rows.

    Args:
        tokenizer: of the model.
        table: the rows.
        source: names the columns.
        vocabulary: see `check_ids`.

    Raises:
        WorldError: a column is missing or holds something else, or there is no chat template, or
            the model lacks a token.
    """
    columns, setting = row_columns(source, table), "prompt_column"
    if has_chats(table, source):
        setting = "messages_column"
        if not getattr(tokenizer, "chat_template", None):
            raise WorldError(f"{setting}: {columns[0]} needs a tokenizer with a chat template")
        values = [[messages] for messages in table.column(columns[0], setting)]
    elif form_of_rows(table, source) == "chat completions":
        settings = zip(columns, (setting, "completion_column"), strict=True)
        values = list(map(list, zip(*(table.column(*both) for both in settings), strict=True)))
    else:
        check_no_kwargs(source, table.where)
        sides = (texts(table, columns[0], setting), texts(table, columns[1], "completion_column"))
        values = list(map(list, zip(*sides, strict=True)))
    rows = []
    for number, value, beside in zip(table.rows, values, given_beside(table, source), strict=True):
        where = f"{table.where}, row {number}"
        with told(f"{setting}: {where}"):
            found = _encode_row(tokenizer, value, beside)
        for ids, _ in found:
            check_ids(tokenizer, ids, vocabulary, where)
        rows += found
    return rows


def _encode_row(tokenizer: Any, value: Sequence[Any], beside: Sequence[Any]) -> list[Row]:
    """Return the rows of a chat, or of a prompt and a completion."""
    if len(value) == 1:
        return encode_chat(tokenizer, read_messages(value[0]), read_beside(beside))
    if not any(is_chat(part) for part in value):
        return [_completion(tokenizer, *value)]
    prompt, said = (
        read_messages([{"role": role, "content": part}] if isinstance(part, str) else part)
        for role, part in zip(("user", "assistant"), value, strict=True)
    )
    return encode_chat(tokenizer, [*prompt, *said], read_beside(beside), first=len(prompt))


def _completion(tokenizer: Any, prompt: str, completion: str) -> Row:
    given, learnt = join(tokenizer, prompt, completion)
    given = [*start(tokenizer), *given]
    learnt = learnt if tokenizer.eos_token_id is None else [*learnt, tokenizer.eos_token_id]
    return given + learnt, [False] * len(given) + [True] * len(learnt)


def has_chats(table: Table, source: Source) -> bool:
    """Return whether a table's rows are chats, by the settings or else by its columns."""
    others = source.text_column or source.prompt_column or source.completion_column
    return source.messages_column is not None or ("messages" in table.columns and not others)


def has_rows(table: Table, source: Source) -> bool:
    """Return whether a table has prompts and completions, or chats, and not plain text."""
    named = source.prompt_column or source.completion_column
    both = "prompt" in table.columns and "completion" in table.columns
    plain = source.text_column is not None
    return bool(named) or has_chats(table, source) or (both and not plain)


def form_of_rows(table: Table, source: Source) -> str:
    """Return the form of prompts and completions, or chats; see `Task.form`."""
    if has_chats(table, source):
        return "chats"
    values = (value for name in row_columns(source, table) for value in table.columns.get(name, ()))
    return "chat completions" if any(map(is_chat, values)) else "completions"


def row_columns(source: Source, table: Table) -> list[str]:
    """Return the columns of a table that language modeling reads."""
    if has_chats(table, source):
        return [source.messages_column or "messages"]
    if has_rows(table, source):
        return [source.prompt_column or "prompt", source.completion_column or "completion"]
    return text_columns(source, table)


def pad_rows(rows: Sequence[Row], sequence_length: int, pad: int) -> Split:
    """Return rows as tensors, shuffled: input_ids and learnt (n, longest), length (n,)."""
    longest = max(len(ids) for ids, _ in rows)
    width = min(longest, sequence_length)
    input_ids = torch.full((len(rows), width), pad)
    learnt = torch.zeros((len(rows), width), dtype=torch.bool)
    for row, (ids, mask) in enumerate(rows):
        size = min(len(ids), width)
        input_ids[row, :size] = torch.tensor(ids[:size])
        learnt[row, :size] = torch.tensor(mask[:size])
    length = torch.tensor([min(len(ids), width) for ids, _ in rows])
    order = shuffled(len(rows))
    return {"input_ids": input_ids[order], "learnt": learnt[order], "length": length[order]}


def fitting_length(
    longest: Sequence[int], asked: int | None, limit: int | None, source: Source
) -> int:
    """Return the sequence length for examples of their own lengths.

    Args:
        longest: tokens of each example.
        asked: the setting `sequence_length`; None for the longest example's.
        limit: of the model, in tokens; None where it has none.
        source: says whether longer examples are cut.

    Raises:
        WorldError: examples are too long, and weren't to be cut.
    """
    length = min(asked or max(longest), limit or max(longest))
    longer = sum(tokens > length for tokens in longest)
    if longer and source.too_long != "truncate":
        whose = f"sequence_length={asked}" if asked == length else f"the model's limit of {length}"
        raise WorldError(
            f"sequence_length: examples must fit into {whose} tokens, but {longer} of "
            f"{len(longest)} are longer, the longest {max(longest)}; "
            "too_long=truncate cuts them"
        )
    return length


def shuffled(size: int) -> torch.Tensor:
    """Return the order of a split's rows, so that the first ones are a sample of all."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))


def next_tokens(batch: Split) -> torch.Tensor:
    """Return what each position is to predict, `IGNORED` for nothing: (n, longest of the batch)."""
    ids = batch["input_ids"]
    if "length" in batch:
        ids = ids[:, : int(batch["length"].max())]
        ids = ids.masked_fill(~batch["learnt"][:, : ids.shape[1]], IGNORED)
    return torch.nn.functional.pad(ids[:, 1:], (0, 1), value=IGNORED)


def token_losses(
    logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float
) -> torch.Tensor:
    """Return nats of each token, 0 where its target is `IGNORED`: (n, length)."""
    losses = cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="none",
    )
    return losses.view(targets.shape)
