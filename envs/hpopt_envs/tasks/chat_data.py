"""Chats as token ids, of which what the assistant answers is to be learnt."""

import re
from collections.abc import Sequence
from typing import Any

from ..data.chats import Beside, Message, fitting, render
from ..data.tokens import plain_ids

Row = tuple[list[int], list[bool]]  # token ids, and which of them are to be learnt

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def encode_chat(
    tokenizer: Any, messages: Sequence[Message], beside: Beside, first: int = 1
) -> list[Row]:
    """Return a chat through the model's template; what the assistant answers is learnt.

    Which tokens these are a template may say itself; else they are found by rendering the chat up
    to each turn. Where a template writes a turn otherwise once others follow, as those of models
    that think do, the chat up to this turn is a row of its own: so the model is to answer there.

    Args:
        tokenizer: has the template.
        messages: of `read_messages`.
        beside: of `read_beside`.
        first: message that may be learnt; by default all but one that begins the chat, which
            answers nothing: no template makes a prompt of nothing.

    Raises:
        ValueError: there is no answer, or the template changes what came before one.
    """
    answers = [
        turn for turn in range(first, len(messages)) if messages[turn]["role"] == "assistant"
    ]
    if not answers:
        raise ValueError("a chat must have an answer, of the role 'assistant'")
    whole = render(tokenizer, messages, beside)
    if (row := _marked(tokenizer, messages, beside, first)) is not None:
        return [row]
    found: dict[str, list[tuple[str, str]]] = {whole: []}
    for turn in reversed(answers):
        given, said = answer(tokenizer, messages[: turn + 1], turn, beside)
        text = next((text for text in found if text.startswith(said)), said)
        found.setdefault(text, []).append((given, said))
    return [_row(tokenizer, text, turns) for text, turns in found.items() if turns]


def answer(
    tokenizer: Any, messages: Sequence[Message], first: int, beside: Beside
) -> tuple[str, str]:
    """Return a chat up to where its last messages are to be said, and all of it.

    Args:
        tokenizer: has the template.
        messages: of `read_messages`.
        first: of those that are to be said.
        beside: of `read_beside`.

    Raises:
        ValueError: the template changes what came before them.
    """
    said = render(tokenizer, messages, beside)
    given = render(tokenizer, messages[:first], beside, prompt=True)
    if said.startswith(given):
        return given, said
    # Some prompts begin a thought that answers come without.
    if not said.startswith(render(tokenizer, messages[:first], beside)):
        raise ValueError("the chat template must only add to what came before a turn")
    pairs = enumerate(zip(given, said, strict=False))
    return said[: next(place for place, (one, other) in pairs if one != other)], said


def _row(tokenizer: Any, text: str, turns: Sequence[tuple[str, str]]) -> Row:
    """Return a text of which what is behind each prompt is learnt."""
    ids = plain_ids(tokenizer, text)
    learnt = [False] * len(ids)
    for given, said in turns:
        # A token may reach over either end: line feeds of a template and of what is said.
        begin, end = (_shared(ids, plain_ids(tokenizer, part)) for part in (given, said))
        learnt[begin:end] = [True] * (end - begin)
    if not any(learnt):
        raise ValueError("a chat must have an answer that the chat template shows")
    return ids, learnt


def _marked(tokenizer: Any, messages: Sequence[Message], beside: Beside, first: int) -> Row | None:
    """Return what the template itself marks as the assistant's; None where it marks nothing."""
    if not _GENERATION.search(tokenizer.get_chat_template(None, beside.get("tools"))):
        return None
    marked = tokenizer.apply_chat_template(
        list(fitting(tokenizer, messages, beside)),
        **beside,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids, learnt = list(marked["input_ids"]), [bool(one) for one in marked["assistant_masks"]]
    if any(message["role"] == "assistant" for message in messages[:first]):
        before = plain_ids(tokenizer, render(tokenizer, messages[:first], beside))
        size = _shared(ids, before)
        learnt[:size] = [False] * size
    return (ids, learnt) if any(learnt) else None


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
