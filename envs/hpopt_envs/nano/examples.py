"""The data of a nano task, as tables of windows of tokens and of what follows them."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from .models import Architecture
from .sources import Random, Source, Tokens

POSITIONS = 4  # that an example predicts, of a model without attention
PRETRAINING_TOKENS = 32_000
HELD_OUT = 2048  # tokens that are predicted in each of validation and test
RETAINED_TRAIN = 384  # examples that a penalty is measured on


@dataclass(frozen=True)
class Form:
    """How long examples are.

    Attributes:
        window: tokens that a model is given.
        targets: positions at the end of the target's windows whose predictions count.
        retained_targets: the same of retained text.
        stride: tokens between the beginnings of retained windows.
        tokens: task tokens an example.
    """

    window: int
    targets: int
    retained_targets: int
    stride: int
    tokens: int

    @classmethod
    def of(cls, architecture: Architecture, classes: int) -> "Form":
        """Return that of a language model's examples (0 classes), or of a classifier's."""
        context = architecture.context
        last = context if architecture.attention else 1
        if classes:
            return cls(context, 1, last, context, context)
        targets = last if architecture.attention else POSITIONS
        window = context if architecture.attention else context + POSITIONS - 1
        return cls(window, targets, targets, targets, targets)


@dataclass(frozen=True)
class Table:
    """Windows of tokens, shape (n, w), and the labels of their last positions, shape (n, t)."""

    windows: Tokens
    labels: Tokens


@dataclass(frozen=True)
class Examples:
    """All data of one task."""

    pretraining: Table
    train: Table
    validation: Table
    test: Table
    retained_train: Table
    retained_validation: Table
    retained_test: Table


def make_examples(
    form: Form,
    classes: tuple[Source, ...],
    retained: Source,
    size: int,
    noise: float,
    random: Random,
) -> Examples:
    """Draw the data of a task.

    Args:
        form: of its examples.
        classes: what is learned: one source, as text that is to be continued; or several, which
            are to be told apart.
        retained: what the base model was trained on, and is to keep.
        size: examples of the training set.
        noise: share of the training set's labels that are drawn anew, in [0, 1].
        random: what all is drawn from.
    """
    held_out = HELD_OUT // form.targets
    kept = HELD_OUT // 2 // form.retained_targets

    def learned(split: str, count: int) -> Table:
        if len(classes) == 1:
            return _continued(form, form.targets, classes[0], count, split, random)
        return _told_apart(form, classes, count, split, random)

    def told(split: str, count: int) -> Table:
        return _continued(form, form.retained_targets, retained, count, split, random)

    train = learned("train", size)
    choices = len(classes) if len(classes) > 1 else int(train.labels.max()) + 1
    wrong = random.random(train.labels.shape) < noise
    labels = np.where(wrong, random.integers(choices, size=wrong.shape), train.labels)
    return Examples(
        pretraining=told("train", PRETRAINING_TOKENS // form.stride),
        train=Table(train.windows, labels),
        validation=learned("validation", held_out),
        test=learned("test", held_out),
        retained_train=told("train", RETAINED_TRAIN),
        retained_validation=told("validation", kept),
        retained_test=told("test", kept),
    )


def _continued(
    form: Form, targets: int, source: Source, count: int, split: str, random: Random
) -> Table:
    tokens = source.sample(random, (count - 1) * form.stride + form.window + 1, split)
    index = np.arange(count)[:, None] * form.stride + np.arange(form.window)
    return Table(tokens[index], tokens[index + 1][:, -targets:])


def _told_apart(
    form: Form, classes: tuple[Source, ...], count: int, split: str, random: Random
) -> Table:
    labels = random.integers(len(classes), size=count)
    every = np.stack([c.sample(random, count * form.window, split) for c in classes])
    windows = every.reshape(len(classes), count, form.window)[labels, np.arange(count)]
    return Table(windows, labels[:, None])


@dataclass(frozen=True)
class Stacked:
    """The same table of K tasks: windows, shape (K, n, w); labels, shape (K, n, t).

    Those of a task with fewer examples than others are followed by zeros; `sizes`, shape (K,), says
    how many there are.
    """

    windows: torch.Tensor
    labels: torch.Tensor
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, tables: list[Table]) -> "Stacked":
        sizes = tuple(len(table.windows) for table in tables)

        def padded(arrays: list[Tokens]) -> torch.Tensor:
            stack = np.zeros((len(arrays), max(sizes), arrays[0].shape[1]), dtype=np.int64)
            for row, array in zip(stack, arrays, strict=True):
                row[: len(array)] = array
            return torch.from_numpy(stack)

        return cls(
            padded([table.windows for table in tables]),
            padded([table.labels for table in tables]),
            sizes,
        )

    def of_task(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return windows and labels of one task, without what follows them."""
        return self.windows[k, : self.sizes[k]], self.labels[k, : self.sizes[k]]

    def first(self, count: int) -> "Stacked":
        """Return the tables of the first so many tasks."""
        return Stacked(self.windows[:count], self.labels[:count], self.sizes[:count])

    def rows(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return windows and labels of examples, whose index has shape (K, n)."""
        stack, most = self.windows.shape[:2]
        flat = (index + torch.arange(stack)[:, None] * most).view(-1)

        def picked(table: torch.Tensor) -> torch.Tensor:
            return table.view(stack * most, -1).index_select(0, flat).view(*index.shape, -1)

        return picked(self.windows), picked(self.labels)


def stack_examples(tasks: list[Examples]) -> dict[str, Stacked]:
    """Return every table of all tasks, by its name in `Examples`."""
    names: list[Any] = [field.name for field in fields(Examples)]
    return {name: Stacked.of([getattr(task, name) for task in tasks]) for name in names}
