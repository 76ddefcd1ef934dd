"""What some tasks can do beside training and judging: each is a subclass of `Task` to inherit from.

class Mine(ParametricLoss, Reference): ...
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from hpopt_search_spaces import Value

from .base import Task
from .data import Split

Rule = tuple[str, Callable[[Any], bool]]  # what must hold of a value, and whether it does
AsBase = Callable[[], AbstractContextManager[None]]  # while it is entered, the model is the base


class ParametricLoss(Task):
    """A task whose loss has hyperparameters of its own.

    Attributes:
        hyperparameters: their names. With "divergence_weight" among them β is the loss's own, and
            there is no other penalty.
        needed: names of those that must be in a space, or held.
        rules: what must hold of values, beyond what training asks of them.
    """

    hyperparameters: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = {}

    @abstractmethod
    def loss_sum_with(
        self, model: torch.nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        """Return the loss, as `loss_sum` says.

        Args:
            model: in training mode.
            batch: some examples of a step's.
            hyperparameters: all of the step's; the task's own may be missing where a space doesn't
                have them, and are then at the task's defaults.
        """

    def loss_sum(self, model: torch.nn.Module, batch: Split) -> torch.Tensor:
        """Return the loss at the task's own defaults."""
        return self.loss_sum_with(model, batch, {})


class ParametricMetrics(Task):
    """A task that is judged otherwise at other hyperparameters: a loss that depends on β, say."""

    @abstractmethod
    def metrics_with(
        self, outputs: dict[str, torch.Tensor], hyperparameters: Mapping[str, Value]
    ) -> dict[str, float]:
        """Return metrics, as `metrics` says.

        Args:
            outputs: of `predict`.
            hyperparameters: of the trial's last step; missing ones are at the task's defaults.
        """

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return the metrics at the task's own defaults."""
        return self.metrics_with(outputs, {})


class Reference(Task):
    """A task whose model has distributions to compare with those of its base model.

    Its divergence from the base model is measured and can be penalized, on the retained data, or
    on the task's own where it retains none. A task that retains data must be one.

    Attributes:
        retains: whether anything depends on retained data: forgetting counts, or divergence from
            the base model is penalized. Known before data is loaded.
    """

    retains: bool = True

    @abstractmethod
    def logits(self, model: torch.nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distributions that are compared; called with retained batches, if any.

        Returns:
            Logits (n, ..., classes), and which of them count (n, ...), boolean: as many as
            `logits_count` says.
        """

    def logits_count(self, batch: Split) -> int:
        """Return how many distributions count: one for each unit of the loss, if not more."""
        return self.loss_count(batch)


class Rollouts(Task):
    """A task that works on what the model itself makes of examples: samples, say.

    Its loss and `predict` are given that. The loss on the same examples can't be compared over a
    trial, so that there are no probes.

    Attributes:
        samples_per_example: how many of the sequences in `batch_size` an example becomes.
        rollout_passes: forward passes a token that `rollout` takes.
        measures_divergence: whether `metrics` has "divergence", measured on the samples.
    """

    samples_per_example: int = 1
    rollout_passes: float = 1.0
    measures_divergence: bool = False

    @abstractmethod
    def rollout(self, model: torch.nn.Module, batch: Split, as_base: AsBase) -> Split:
        """Return what the model makes of examples: `samples_per_example` times as many.

        Called in evaluation mode, without gradients; draws come from torch's global generator.

        Args:
            model: as it is in the trial.
            batch: some examples of a batch.
            as_base: while this is entered, the model is the base model.
        """

    def weigh(self, batch: Split, hyperparameters: Mapping[str, Value]) -> Split:
        """Return a whole batch's rollouts with what depends on all of them, for the loss.

        Args:
            batch: rolled out.
            hyperparameters: as `ParametricLoss.loss_sum_with` gets them.
        """
        return batch


class Writing(Task):
    """A task whose model writes something for people to read.

    Attributes:
        score_name: of what `write` scores by; empty where it scores nothing.
    """

    score_name: str = ""

    @abstractmethod
    def write(self, model: torch.nn.Module, batch: Split) -> list[dict[str, str | float]]:
        """Return what the model writes for some examples; [] where it can't write.

        Each has "prompt" and "text", and may have "reference", what it should be, and "score".
        """


ROLES = (ParametricLoss, ParametricMetrics, Reference, Rollouts, Writing)


def has_reference(task: Task) -> bool:
    """Return whether a task's divergence from its base model is measured, one way or another."""
    return isinstance(task, Reference) or (isinstance(task, Rollouts) and task.measures_divergence)


def weighs_divergence(task: Task) -> bool:
    """Return whether β is the loss's own, so that there is no penalty beside it."""
    return isinstance(task, ParametricLoss) and "divergence_weight" in task.hyperparameters


def samples_per_example(task: Task) -> int:
    """Return how many sequences an example becomes."""
    return task.samples_per_example if isinstance(task, Rollouts) else 1


def rollout_passes(task: Task) -> float:
    """Return the forward passes a token that come before the loss."""
    return task.rollout_passes if isinstance(task, Rollouts) else 0.0


def evaluation_passes(task: Task) -> float:
    """Return the forward passes that metrics take, for each token that an example counts."""
    return (rollout_passes(task) + task.prediction_passes) * samples_per_example(task)
