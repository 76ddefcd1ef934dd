"""Pairs of responses, one of which is preferred: read, encoded, and the embedded ones drawn."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import pad as widen

from .. import models
from ..data.prompts import PROMPT, line_ends, prompt_ids
from ..data.tables import Table
from ..errors import WorldError
from ..scores.scores import make_score, score
from ..settings import Source
from .data import Split
from .lm_data import Row, pad_rows
from .sampling import draw, pad_prompts, responses

Pair = tuple[Row, Row]  # prompt and chosen response, prompt and rejected response

SCORE = "length:7"  # that they are compared by; by their form they were told apart too easily
SAMPLES = {"train": 1024, "validation": 256, "test": 256}
RIVALS = 2  # samples that each one is compared with
NEW_TOKENS = 24
SEED = 0


def encode_pairs(tokenizer: Any, table: Table, source: Source) -> list[Pair]:
    """Return prompts, chosen and rejected responses as ids; the responses are to be learnt.

    Each may be a text or, all three, a list of messages, which goes through the chat template.
    Without a column of prompts, what both responses begin with is the prompt: tokens of texts,
    messages of chats. A response of text ends with the end token.

    Raises:
        WorldError: a column is missing or holds something else, or there is no chat template.
    """
    chosen = table.column(source.chosen_column or "chosen", "chosen_column")
    rejected = table.column(source.rejected_column or "rejected", "rejected_column")
    prompts: Sequence[Any] = [None] * len(table)
    if source.prompt_column or "prompt" in table.columns:
        prompts = table.column(source.prompt_column or "prompt", "prompt_column")
    pairs = []
    rows = zip(prompts, chosen, rejected, strict=True)
    for number, row in zip(table.numbers or range(1, len(table) + 1), rows, strict=True):
        encode = _chats if any(isinstance(value, list) for value in row) else _texts
        try:
            pairs.append(encode(tokenizer, *row))
        except WorldError:
            raise
        except Exception as error:  # a template has errors of its own
            said = str(error).partition("\n")[0]
            raise WorldError(f"chosen_column: {table.where}, row {number}: {said}") from error
    return pairs


def _texts(tokenizer: Any, prompt: Any, chosen: Any, rejected: Any) -> Pair:
    for value in (prompt, chosen, rejected):
        if isinstance(value, dict | bytes):
            raise ValueError(f"must be text or a list of messages, but got {value!r:.60}")
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    sides = [_encode(tokenizer, str(text)) for text in (chosen, rejected)]
    sides = [ids if ids[-1:] == end else ids + end for ids in sides]
    given = prompt_ids(tokenizer, "" if prompt is None else str(prompt))
    if prompt is None:
        shared = _shared(*sides)
        given, sides = given + sides[0][:shared], [ids[shared:] for ids in sides]
    return _pair(given, *sides)


def _chats(tokenizer: Any, prompt: Any, chosen: Any, rejected: Any) -> Pair:
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("messages need a tokenizer with a chat template")
    if prompt is None and isinstance(chosen, list) and isinstance(rejected, list):
        shared = _shared(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    for value in (prompt, chosen, rejected):
        is_list = isinstance(value, list) and all(isinstance(m, dict) for m in value)
        if not is_list or not value:
            raise ValueError(
                f"prompt and both responses must be lists of messages, but one is {value!r:.60}"
            )
    given = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    sides = []
    for said in (chosen, rejected):
        whole = tokenizer.apply_chat_template([*prompt, *said], tokenize=False)
        if not whole.startswith(given):
            raise ValueError("the chat template must only add to what came before a response")
        sides.append(_encode(tokenizer, whole[len(given) :]))
    return _pair(prompt_ids(tokenizer, given, begin=False), *sides)


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _pair(prompt: list[int], chosen: list[int], rejected: list[int]) -> Pair:
    def row(said: list[int]) -> Row:
        return prompt + said, [False] * len(prompt) + [True] * len(said)

    return row(chosen), row(rejected)


def _shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many items two sequences begin with alike; the last of either isn't counted."""
    pairs = enumerate(zip(one[:-1], other[:-1], strict=False))
    return next((i for i, (a, b) in pairs if a != b), max(0, min(len(one), len(other)) - 1))


def pad_pairs(pairs: Sequence[Pair], sequence_length: int, pad: int) -> Split:
    """Pairs as tensors, shuffled, the chosen response first.

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
    """Docstring summaries of the embedded model's, compared by their length.

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
