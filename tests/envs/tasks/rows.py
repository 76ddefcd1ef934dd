"""Rows of prompts and of chats, and what of them is learnt."""

from collections.abc import Callable
from typing import Any

from hpopt_envs.models import load_tokenizer

END = "<|endoftext|>"
# What is between `generation` and `endgeneration`, transformers reports as the assistant's.
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|endoftext|>\n"
    "{% endgeneration %}{% else %}{{ m.content }}<|endoftext|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)

Write = Callable[[list[dict[str, Any]]], str]


def learnt_texts(ids: list[int], learnt: list[bool]) -> list[str]:
    """The runs of learnt tokens of a row, as text."""
    tokenizer, before = load_tokenizer("embedded"), False
    runs: list[list[int]] = []
    for token, is_learnt in zip(ids, learnt, strict=True):
        if is_learnt:
            runs += [] if before else [[]]
            runs[-1].append(token)
        before = is_learnt
    return [tokenizer.decode(run) for run in runs]


def chat(*said: str) -> list[dict[str, str]]:
    """A user and an assistant, who take turns."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]
