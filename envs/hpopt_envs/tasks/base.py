"""The plug-in point: what a task is to the training run that tunes it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from hpopt_search_spaces import Value

from .. import models
from ..errors import WorldError

BASE_SEED = 0  # a base model's new layers are the same in every study, whatever its seed

Split = dict[str, torch.Tensor]  # tensors share their leading dimension: the examples
Rule = tuple[str, Callable[[Any], bool]]  # what must hold of a value, and whether it does
AsBase = Callable[[], AbstractContextManager[None]]  # while it is entered, the model is the base


@dataclass(frozen=True)
class Data:
    """The examples of a task; nobody changes them once they are loaded.

    Attributes:
        train: what optimizer steps draw from.
        validation: what searchers are told about; the first examples alone between segments,
            so that any order that means something must be shuffled away.
        test: what the end of a study is judged by.
        retained_train: examples of what the base model should keep doing, for the penalty on
            divergence; None for a task that retains nothing (then all three are).
        retained_validation: the same, held out: divergence and forgetting are measured on it.
        retained_test: the same, for the end of a study.
        hash: sha256 of all of these; computed where it isn't given.
    """

    train: Split
    validation: Split
    test: Split
    retained_train: Split | None = None
    retained_validation: Split | None = None
    retained_test: Split | None = None
    hash: str = ""

    def __post_init__(self) -> None:
        names = ("train", "validation", "test")
        retained = [name for n in names if getattr(self, name := f"retained_{n}") is not None]
        if len(retained) not in (0, 3):
            raise WorldError(f"retained splits must be all three or none, but got {retained}")
        splits = {name: getattr(self, name) for name in (*names, *retained)}
        for name, split in splits.items():
            _check_split(name, split)
        if not self.hash:
            object.__setattr__(self, "hash", _hash(splits))

    def to(self, device: torch.device) -> "Data":
        """The same on a device."""

        def moved(split: Split | None) -> Any:
            return split and {name: tensor.to(device) for name, tensor in split.items()}

        splits = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "hash"}
        return Data(**{name: moved(split) for name, split in splits.items()}, hash=self.hash)


class Task(ABC):
    """What is trained and how it is judged. Subclass it to tune something of your own.

    A worker makes one task, calls `load_data`, `load_model` and `prepare` once, in this order, and
    then the other methods for every batch of every trial. These compute: they keep nothing between
    calls, and change neither the model nor the batch; devices, precision, train and eval mode,
    gradients and random seeds are the caller's business. Their batches are splits of fewer
    examples.

    A task that defines `logits` has a reference, the base model: its divergence from it is measured
    and can be penalized, on the retained data, or on the task's own where it retains none.

    A task that defines `rollout` works on what the model itself makes of examples: `loss_sum` and
    `predict` are given that.

    Attributes:
        name: as recorded; where it is empty, what the task was asked for by.
        objective: the entry of `metrics` that is tuned.
        maximize: whether more of it is better.
        unit: of the objective; empty for a share or a count.
        objective_scale: what counts as a large change of it; rewards are divided by it.
        metric_scales: the same of other metrics, where it isn't 1.
        forgetting_weight: of forgetting in the objective, where there is retained data.
        chance_loss: of guessing, where that is known: a loss that the base model's being good
            doesn't turn into an explosion.
        hyperparameters: names of those that `loss_sum` takes as keyword arguments. With
            "divergence_weight" among them β is the loss's own, and there is no other penalty.
        measured_with: names of those that `metrics` takes: the trial's last ones.
        needed: names of those that must be in a space, or held.
        rules: what must hold of values, beyond what training asks of them.
        fixed: hyperparameters that every trial holds, where neither the space nor the user says.
        default_max_divergence: the limit on divergence where none is asked for; None for none.
        measures_divergence: whether `metrics` has "divergence" without `logits`.
        has_probe: whether the loss on the same examples can be compared over a trial; not where
            they are drawn from the model.
        rate_factor: best learning rate relative to that of plain fine-tuning, for "auto".
        samples_per_example: how many of the sequences in `batch_size` an example becomes.
        rollout_passes: forward passes a token that `rollout` takes.
        prediction_passes: forward passes a token that `predict` takes of held-out examples.
        adapter_type: of peft's `TaskType`, "" for none: which layers beside a LoRA adapter's are
            trained, such as a classifier's head.
        score_name: of what `write` scores by.
        default_space: the search space where none is asked for; where it is empty, "default" for
            a task with a reference, else "plain".
        default_model: the source handed to `load_model` where none is asked for; it may stay
            empty where `load_model` is defined anew.
    """

    name: str = ""
    objective: str = "loss"
    maximize: bool = False
    unit: str = ""
    objective_scale: float = 1.0
    metric_scales: Mapping[str, float] = {}
    forgetting_weight: float = 0.0
    chance_loss: float = 0.0
    hyperparameters: tuple[str, ...] = ()
    measured_with: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = {}
    fixed: Mapping[str, Value] = {}
    default_max_divergence: float | None = None
    measures_divergence: bool = False
    has_probe: bool = True
    rate_factor: float = 1.0
    samples_per_example: int = 1
    rollout_passes: float = 0.0
    prediction_passes: float = 1.0
    adapter_type: str = ""
    score_name: str = ""
    default_space: str = ""
    default_model: str = ""

    @abstractmethod
    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        """All splits, the same at every call.

        Args:
            model_source: what `load_model` will be given, since a tokenizer may belong to it.
            sequence_length: the longest example, in tokens; None leaves it to the task.

        Raises:
            WorldError: the data is missing, or doesn't fit the model or the length.
        """

    def load_model(self, source: str, seed: int) -> torch.nn.Module:
        """The base model, in float32 on the CPU; `seed` is for weights drawn at random."""
        return models.load_model(source, seed)

    def prepare(self, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
        """Completes model (in place) and data, each of which may need the other.

        Args:
            model: the base model, on its device.
            data: on the same device.

        Returns:
            The data, and the token-equivalents spent.
        """
        return data, 0.0

    def example_tokens(self, split: Split) -> torch.Tensor:
        """How many training tokens each example counts for: (n,), 1 where examples are counted."""
        return torch.ones(split_size(split), dtype=torch.long)

    def rollout(self, model: torch.nn.Module, batch: Split, as_base: AsBase) -> Split:
        """What the model makes of examples: a split of `samples_per_example` times as many.

        Called in evaluation mode, without gradients; draws come from torch's global generator.

        Args:
            model: as it is in the trial.
            batch: some examples of a batch.
            as_base: while this is entered, the model is the base model.
        """
        return batch

    def weigh(self, batch: Split, **hyperparameters: Any) -> Split:
        """A whole batch's rollouts with what depends on all of them, for `loss_sum`.

        Called with the hyperparameters that `loss_sum` takes.
        """
        return batch

    @abstractmethod
    def loss_sum(self, model: torch.nn.Module, batch: Split) -> torch.Tensor:
        """The differentiable loss, summed over the counted units of a batch: a scalar.

        A task whose `hyperparameters` isn't empty gets these as keyword arguments, in training.
        """

    def loss_count(self, batch: Split) -> int:
        """How many units `loss_sum` sums over: examples, if not something finer."""
        return split_size(batch)

    def logits(self, model: torch.nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        """The distributions whose divergence from the base model's is penalized and measured.

        Called with retained batches where there are any: a task that retains data must define it.

        Returns:
            Logits (n, ..., classes), and which of them count (n, ...), boolean: as many as
            `logits_count` says.
        """
        raise NotImplementedError(f"task {self.name} has no distributions to compare")

    def logits_count(self, batch: Split) -> int:
        """How many distributions of `logits` count: one for each unit of the loss, if not more."""
        return self.loss_count(batch)

    @abstractmethod
    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        """What `metrics` needs to know of each example; leading dimension n, without gradients.

        Called with validation, test and retained batches; outputs are concatenated over a split.
        """

    @abstractmethod
    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        """Metrics of a split from the outputs of `predict`: the objective, "loss", and any others.

        "loss" is the mean over the units of `loss_count`; its rise on retained data is forgetting.
        A task whose `measured_with` isn't empty gets these as keyword arguments.
        """

    def write(self, model: torch.nn.Module, batch: Split) -> list[dict[str, str | float]]:
        """What the model writes for some examples, for people to read; [] if it writes nothing.

        Each has "prompt" and "text", and may have "reference", what it should be, and "score".
        """
        return []

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        """Writes trained weights, and what else their user needs, into a folder.

        By default that is what `from_pretrained` loads, or `model.safetensors` alone.
        """
        models.save_model(model, folder)


def split_size(split: Split) -> int:
    """The number of examples of a split."""
    return len(next(iter(split.values())))


def _check_split(name: str, split: Split) -> None:
    lengths = {key: len(tensor) for key, tensor in split.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise WorldError(f"tensors of {name} must have the same number > 0 of examples: {lengths}")


def _hash(splits: dict[str, Split]) -> str:
    digest = hashlib.sha256()
    for name, split in splits.items():
        for key, tensor in sorted(split.items()):
            digest.update(f"{name}\0{key}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(models.tensor_bytes(tensor))
    return digest.hexdigest()


def compares(task: Task) -> bool:
    """Whether a task has distributions to compare with its base model's."""
    return type(task).logits is not Task.logits


def has_reference(task: Task) -> bool:
    """Whether a task's divergence from its base model is measured, in one way or another."""
    return compares(task) or task.measures_divergence


def passes(task: Task) -> float:
    """Forward passes that the metrics of a task take, for each token that an example counts."""
    return (task.rollout_passes + task.prediction_passes) * task.samples_per_example
