"""What a training run is to the environment: three implementations share this protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch

from hpopt_search_spaces import Value

from .records import Outcome, RunFacts


@dataclass(frozen=True)
class Progress:
    """What a stretch of training came to; the fields are those of `Segment`.

    The outcome is COMPLETED where there is no more to train, short of the trial's horizon.
    `hyperparameters` are those that it was trained with, where they aren't those asked for.
    """

    tokens: int
    optimizer_steps: int
    train_loss: float
    penalty: float | None
    gradient_norm: float
    gradient_norm_std: float
    clip_fraction: float
    noise_scale: float | None
    cost: float
    outcome: Outcome | None = None
    reason: str = ""
    hyperparameters: Mapping[str, Value] | None = None


@dataclass(frozen=True)
class Evaluation:
    """Metrics on one split, and what they cost in token-equivalents.

    `metrics` always has "loss" and the task's objective metric; "divergence" where the task has a
    reference, and "forgetting" where it retains data.
    """

    metrics: Mapping[str, float]
    objective: float
    cost: float


class Probe(NamedTuple):
    """What a trial's probe batch shows.

    Attributes:
        loss: of the task, on training examples.
        cost: token-equivalents.
        forgetting: rise of the loss on retained examples since the base model; None where nothing
            is retained.
    """

    loss: float
    cost: float
    forgetting: float | None = None


class TrainingRun(Protocol):
    """A model being fine-tuned: one set of frozen weights, any number of run states.

    A run state is what a trial owns (trainable tensors, optimizer moments, data cursors). Only the
    run looks inside; the environment hands it back in.
    """

    @property
    def facts(self) -> RunFacts: ...

    def start(self, seed: int) -> Any:
        """Return the state of a new trial, at the base weights."""

    def advance(
        self,
        state: Any,
        hyperparameters: Mapping[str, Value],
        segment: int,
        tokens: int | None = None,
    ) -> Progress:
        """Train so many tokens, `facts.segment_tokens` for None, changing `state` in place.

        Where examples differ in length, the segment ends with the first optimizer step past its
        mark, and what it trained too much comes off the next one.

        Draws are keyed by (the trial's seed, `segment`) alone.
        """

    def probe(self, state: Any) -> Probe:
        """Measure the trial's probe batch: the same training examples whenever it is asked for."""

    def evaluate(self, state: Any, split: str, whole: bool) -> Evaluation:
        """Measure on "validation" or "test": on the whole fixed set, or on its first part."""

    def snapshot(self, state: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return copies of everything in `state`: tensors, and what JSON can carry."""

    def restore(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> Any:
        """Return the state that `snapshot` was taken of; continuation is bit-identical."""

    def save_weights(self, state: Any, folder: Path) -> None:
        """Write the state's model where `from_pretrained` (or the task's user) finds it."""


@runtime_checkable
class TrialProcesses(Protocol):
    """What a training run has beside the above where its trials are processes of their own."""

    def name(self, state: Any, trial: int) -> None:
        """Say which trial a new state is of: its files are named after it."""

    def end(self, state: Any) -> None:
        """End a trial's process, if it has one that still runs."""
