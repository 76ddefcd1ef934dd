"""Pairs of responses, one of which is preferred: read, encoded, and the embedded ones drawn."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import pad as widen

from .. import models
from ..data.chats import (
    Beside,
    Message,
    check_no_kwargs,
    given_beside,
    read_beside,
    read_messages,
)
from ..data.prompts import PROMPT, line_ends, prompt_ids
from ..data.tables import Table
from ..data.tokens import check_ids, join, plain_ids
from ..errors import told
from ..scores.scores import make_score, score
from ..settings import Source
from .chat_data import Row, answer
from .data import Split
from .lm_data import pad_rows
from .sampling import draw, pad_prompts, responses

Pair = tuple[Row, Row]  # prompt and chosen response, prompt and rejected response

SCORE = "length:7"  # that they are compared by; by their form they were told apart too easily
SAMPLES = {"train": 1024, "validation": 256, "test": 256}
RIVALS = 2  # samples that each one is compared with
NEW_TOKENS = 24
SEED = 0


def pair_columns(source: Source, table: Table) -> list[str]:
    """Return the columns that pairs are read from: responses, and prompts where there are any."""
    names = [source.chosen_column or "chosen", source.rejected_column or "rejected"]
    prompt = source.prompt_column or "prompt"
    return [prompt, *names] if source.prompt_column or prompt in table.columns else names


def repeat_prompts(source: Source, table: Table) -> bool:
    """Return whether all responses are texts that begin with their prompts, and go on."""
    names = pair_columns(source, table)
    if len(names) < 3 or not all(name in table.columns for name in names):
        return False
    prompts, *responses = (table.column(name, "prompt_column") for name in names)
    return all(
        isinstance(prompt, str)
        and all(isinstance(t, str) and len(t) > len(prompt) and t.startswith(prompt) for t in said)
        for prompt, *said in zip(prompts, *responses, strict=True)
    )


def encode_pairs(
    tokenizer: Any,
    table: Table,
    source: Source,
    vocabulary: int | None = None,
    repeated: bool = False,
) -> list[Pair]:
    """Return prompts, chosen and rejected responses as ids; the responses are to be learnt.

    Each may be a text or a list of messages, which goes through the chat template. Without a column
    of prompts, what both responses begin with is the prompt: tokens of texts, messages of chats; so
    it is where chats repeat the prompt. A response of text ends with the end token.

    Args:
        tokenizer: of the model.
        table: the rows.
        source: names the columns.
        vocabulary: see `check_ids`.
        repeated: whether responses of text begin with their prompt, which they then lose: see
            `repeat_prompts`, of the training rows.

    Raises:
        WorldError: a column is missing or holds something else, or there is no chat template, or
            the model lacks a token.
    """
    names = pair_columns(source, table)
    settings = ("prompt_column", "chosen_column", "rejected_column")[-len(names) :]
    columns: list[Sequence[Any]] = [
        table.column(name, setting) for name, setting in zip(names, settings, strict=True)
    ]
    prompts = columns[:-2] or [[None] * len(table)]
    pairs = []
    rows = zip(*prompts, *columns[-2:], strict=True)
    if not any(isinstance(value, list) for column in columns for value in column):
        check_no_kwargs(source, table.where)
    for number, row, beside in zip(table.rows, rows, given_beside(table, source), strict=True):
        where = f"{table.where}, row {number}"
        with told(f"chosen_column: {where}"):
            if any(isinstance(value, list) for value in row):
                prompt, chosen, rejected = row
                pair = _chats(tokenizer, prompt, chosen, rejected, read_beside(beside))
            else:
                pair = _texts(tokenizer, repeated, *row)
        for ids, _ in pair:
            check_ids(tokenizer, ids, vocabulary, where)
        pairs.append(pair)
    return pairs


def _texts(tokenizer: Any, repeated: bool, prompt: Any, chosen: Any, rejected: Any) -> Pair:
    for value in (prompt, chosen, rejected):
        if isinstance(value, dict | bytes):
            raise ValueError(f"must be text or a list of messages, but got {value!r:.60}")
    if prompt is None:
        given = prompt_ids(tokenizer, "")
        sides = [_ended(tokenizer, plain_ids(tokenizer, str(text))) for text in (chosen, rejected)]
        shared = _shared(*sides)
        given, sides = given + sides[0][:shared], [ids[shared:] for ids in sides]
        return _row(given, sides[0]), _row(given, sides[1])
    if repeated:
        chosen, rejected = (text.removeprefix(prompt) for text in (chosen, rejected))
    given = prompt_ids(tokenizer, str(prompt))
    sides = [join(tokenizer, str(prompt), str(text))[1] for text in (chosen, rejected)]
    return _row(given, _ended(tokenizer, sides[0])), _row(given, _ended(tokenizer, sides[1]))


def _ended(tokenizer: Any, ids: list[int]) -> list[int]:
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return ids if ids[-1:] == end else ids + end


def _chats(tokenizer: Any, prompt: Any, chosen: Any, rejected: Any, beside: Beside) -> Pair:
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("messages need a tokenizer with a chat template")
    must = "prompt and both responses must be lists of messages"
    sides = [read_messages(value, must) for value in (chosen, rejected)]
    asked: list[Message] = []
    if isinstance(prompt, str):
        asked = [{"role": "user", "content": prompt}]
    elif prompt is not None:
        asked = read_messages(prompt, must)
    shared = _shared(*sides)
    if prompt is None or (isinstance(prompt, str) and shared):
        asked = sides[0][:shared]
    if all(side[: len(asked)] == asked for side in sides):
        sides = [side[len(asked) :] for side in sides]
    if not asked or not all(sides):
        raise ValueError(f"{must}, but one is []")
    chosen_row, rejected_row = (
        _row(*_joined(tokenizer, *answer(tokenizer, [*asked, *said], len(asked), beside)))
        for said in sides
    )
    return chosen_row, rejected_row


def _joined(tokenizer: Any, given: str, whole: str) -> tuple[list[int], list[int]]:
    return join(tokenizer, given, whole[len(given) :])


def _row(prompt: list[int], said: list[int]) -> Row:
    return prompt + said, [False] * len(prompt) + [True] * len(said)


def _shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many items two sequences begin with alike; the last of either isn't counted."""
    pairs = enumerate(zip(one[:-1], other[:-1], strict=False))
    return next((i for i, (a, b) in pairs if a != b), max(0, min(len(one), len(other)) - 1))


def pad_pairs(pairs: Sequence[Pair], sequence_length: int, pad: int) -> Split:
    """Return pairs as tensors, shuffled, the chosen response first.

    Returns:
        input_ids and learnt (n, 2, longest), length (n, 2).
    """
    sides = [pad_rows(rows, sequence_length, pad) for rows in zip(*pairs, strict=True)]
    width = max(side["input_ids"].shape[1] for side in sides)

    def stacked(name: str, value: float) -> torch.Tensor:
        tensors = [side[name] for side in sides]
        return torch.stack([widen(t, (0, width - t.shape[1]), value=value) for t in tensors], 1)

    return {
        "input_ids": stacked("input_ids", pad),
        "learnt": stacked("learnt", False),
        "length": torch.stack([side["length"] for side in sides], 1),
    }


@lru_cache(maxsize=1)  # several environments in one process draw them once
def embedded_pairs() -> tuple[dict[str, Table], int]:
    """Return docstring summaries of the embedded model's, compared by their length.

    Each is compared with the next few of its split; of equals none is preferred. The same ones
    whatever model is trained on them.

    Returns:
        Tables of the splits, and how many tokens were drawn.
    """
    model, tokenizer = models.load_model("embedded", 0).eval(), models.load_tokenizer("embedded")
    total, end = sum(SAMPLES.values()), tokenizer.eos_token_id
    prompts = pad_prompts([prompt_ids(tokenizer, PROMPT)] * total, end)
    ends = [end, *line_ends(tokenizer)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        drawn = draw(model, prompts, NEW_TOKENS, ends, end)
    written = tokenizer.batch_decode(responses(drawn), skip_special_tokens=True)
    texts = [text.strip().partition("\n")[0].rstrip() for text in written]
    values = score(make_score(SCORE, "reward"), [PROMPT] * total, texts, "reward").tolist()
    tables, first = {}, 0
    for name, size in SAMPLES.items():
        scored = list(zip(texts[first : first + size], values[first : first + size], strict=True))
        tables[name] = _compared(scored, f"embedded pairs, {name}")
        first += size
    return tables, int(drawn["length"].sum())


def _compared(scored: Sequence[tuple[str, float]], where: str) -> Table:
    chosen, rejected = [], []
    for i, (text, value) in enumerate(scored):
        for j in range(1, RIVALS + 1):
            rival, other = scored[(i + j) % len(scored)]
            if value != other and text and rival:
                chosen.append(text if value > other else rival)
                rejected.append(rival if value > other else text)
    columns = {"prompt": [PROMPT] * len(chosen), "chosen": chosen, "rejected": rejected}
    return Table(columns, where)
