"""Pairs of which one response is preferred, and what a model makes of them."""

import json
from pathlib import Path
from typing import Any

import torch

from hpopt_envs.tasks import Split

# Prompts and responses of all lengths: what is preferred says yes.
ROWS = [
    {
        "prompt": f"Is {i} {'a ' * (i % 4)}number?",
        "chosen": " yes" + "." * (i % 3),
        "rejected": " no" + " " * (i % 5),
    }
    for i in range(60)
]


def write_pairs() -> str:
    """Write `ROWS` to a file of the working directory; return its name."""
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return "pairs.jsonl"


def sides(split: Split, row: int) -> list[tuple[list[int], list[int]]]:
    """Prompt and response of the chosen side of a pair and of the rejected one, as ids."""
    found = []
    for side in (0, 1):
        ids = split["input_ids"][row, side, : split["length"][row, side]].tolist()
        size = len(ids) - int(split["learnt"][row, side].sum())
        found.append((ids[:size], ids[size:]))
    return found


@torch.no_grad()
def distributions(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    """Log-probabilities of every token at each place of a response: (tokens, vocabulary)."""
    logits = model(torch.tensor([prompt + response])).logits[0].double()
    return logits[len(prompt) - 1 : -1].log_softmax(-1)
