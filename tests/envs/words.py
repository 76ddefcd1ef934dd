"""A small classification task, shared by tests: one word tells the class."""

import csv
import random
from pathlib import Path
from typing import Any

import torch

from hpopt_envs.tasks import Source, Split
from hpopt_envs.tasks.classify import Classification

Rows = tuple[list[str], list[str]]

# One word tells the class, and stands early: a causal model has forgotten it by the end.
WORDS = {"file": ["open", "read", "path"], "sort": ["order", "rank"], "sum": ["total", "plus"]}
FILLERS = ["the", "of", "a", "returns", "given", "value", "for", "this", "with", "and"]


def rows_of(size: int, seed: int) -> Rows:
    """Imbalanced rows: 10, 30 and 60% of the classes."""
    draw = random.Random(seed)
    texts, labels = [], []
    for i in range(size):
        label = "file" if i % 10 == 0 else "sort" if i % 10 < 4 else "sum"
        words = draw.choices(FILLERS, k=draw.randint(4, 9))
        words.insert(draw.randint(0, 2), draw.choice(WORDS[label]))
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


SPLITS = {"train": rows_of(100, 0), "validation": rows_of(60, 1), "test": rows_of(20, 2)}


def small_task(**settings: Any) -> Classification:
    return Classification(Source(**settings), embedded=lambda: SPLITS)


def mask_of(batch: Split) -> torch.Tensor:
    return (torch.arange(int(batch["length"].max())) < batch["length"][:, None]).long()


def write_csv(path: Path, rows: Rows, header: tuple[str, str] = ("text", "label")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *zip(*rows, strict=True)])
    return str(path)
