"""From text to token ids: packed documents, and rows of which a part is to be learnt."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..data.tables import Table
from ..errors import WorldError
from ..settings import Source
from .data import Split

IGNORED = -100  # the target that `cross_entropy` leaves out
Row = tuple[list[int], list[bool]]  # token ids, and which of them are to be learnt


def texts(table: Table, name: str, setting: str, skip_empty: bool = False) -> list[str]:
    """Return a column as text, numbers written out.

    Raises:
        WorldError: see `Table.column`; or something else is in it.
    """
    values = table.column(name, setting, skip_empty)
    for value in values:
        if isinstance(value, list | dict | bytes):
            raise WorldError(
                f"{setting}: {table.where} must have text in column {name!r}, but has {value!r:.60}"
            )
    return [str(value) for value in values]


def tokenize(tokenizer: Any, documents: list[str]) -> torch.Tensor:
    """Return the ids of documents in a row, each followed by the end-of-text token: (tokens,)."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    encoded = tokenizer(documents, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor([token for ids in encoded for token in (*ids, *end)])


def cut(ids: torch.Tensor, sequence_length: int) -> Split:
    """Sequences of one length, shuffled so that the first ones are a sample of all."""
    sequences = ids[: len(ids) // sequence_length * sequence_length].view(-1, sequence_length)
    return {"input_ids": sequences[shuffled(len(sequences))]}


def pack(tokenizer: Any, documents: list[str], sequence_length: int, where: str) -> Split:
    """Documents as sequences of one length.

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


def encode_rows(tokenizer: Any, table: Table, source: Source) -> list[Row]:
    """Return prompts and completions, or chats, as ids; completions alone are to be learnt.

    Raises:
        WorldError: a column is missing or holds something else, or there is no chat template.
    """
    if is_chat(table, source):
        setting, name = "messages_column", source.messages_column or "messages"
        if not getattr(tokenizer, "chat_template", None):
            raise WorldError(f"{setting}: {name} needs a tokenizer with a chat template")
        encode: Callable[[Any], Row] = lambda messages: _chat(tokenizer, messages)  # noqa: E731
        values: Sequence[Any] = table.column(name, setting)
    else:
        setting, name = "prompt_column", source.prompt_column or "prompt"
        prompts = texts(table, name, setting)
        completions = texts(table, source.completion_column or "completion", "completion_column")
        encode = lambda pair: _completion(tokenizer, *pair)  # noqa: E731
        values = list(zip(prompts, completions, strict=True))
    rows = []
    for number, value in zip(table.numbers or range(1, len(table) + 1), values, strict=True):
        try:
            rows.append(encode(value))
        except Exception as error:  # a template has errors of its own
            said = str(error).partition("\n")[0]
            raise WorldError(f"{setting}: {table.where}, row {number}: {said}") from error
    return rows


def is_chat(table: Table, source: Source) -> bool:
    """Return whether a table's rows are chats, by the settings or else by its columns."""
    others = source.text_column or source.prompt_column or source.completion_column
    return source.messages_column is not None or ("messages" in table.columns and not others)


def has_rows(table: Table, source: Source) -> bool:
    """Return whether a table has prompts and completions, or chats, and not plain text."""
    named = source.prompt_column or source.completion_column
    both = "prompt" in table.columns and "completion" in table.columns
    plain = source.text_column is not None
    return bool(named) or is_chat(table, source) or (both and not plain)


def _completion(tokenizer: Any, prompt: str, completion: str) -> Row:
    begin = tokenizer("a")["input_ids"][:1]
    begin = begin if begin == [tokenizer.bos_token_id] else []
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, completion)]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    given, learnt = [*begin, *ids[0]], [*ids[1], *end]
    return given + learnt, [False] * len(given) + [True] * len(learnt)


def _chat(tokenizer: Any, messages: Any) -> Row:
    """Return a chat through the model's template; all that the assistant answers is learnt.

    What it begins a chat with answers nothing: no template makes a prompt of nothing.
    """
    is_list = isinstance(messages, list) and all(isinstance(m, dict) for m in messages)
    if not is_list or not all("role" in message for message in messages):
        raise ValueError(f"must be a list of messages with a role, but got {messages!r:.60}")

    def render(count: int, prompt: bool) -> str:
        text: str = tokenizer.apply_chat_template(
            messages[:count], add_generation_prompt=prompt, tokenize=False
        )
        return text

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    whole = render(len(messages), prompt=False)
    ids = encode(whole)
    learnt = [False] * len(ids)
    for turn, message in enumerate(messages):
        if turn > 0 and message["role"] == "assistant":
            given, said = render(turn, prompt=True), render(turn + 1, prompt=False)
            if not (whole.startswith(said) and said.startswith(given)):
                raise ValueError("the chat template must only add to what came before a turn")
            # A token may reach over either end: line feeds of a template and of what is said.
            begin, end = (_shared(ids, encode(text)) for text in (given, said))
            learnt[begin:end] = [True] * (end - begin)
    if not any(learnt):
        raise ValueError("a chat must have an answer, of the role 'assistant'")
    return ids, learnt


def _shared(one: list[int], other: list[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


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
    """Nats of each token, 0 where its target is `IGNORED`: (n, length)."""
    losses = cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="none",
    )
    return losses.view(targets.shape)
