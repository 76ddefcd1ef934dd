"""The plug-in point: what a task is to the training run that tunes it.

Every task has what stands here; what some can do beside it is in `hpopt_envs.tasks.roles`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from hpopt_search_spaces import Value

from .. import models
from .data import Data, Split, split_size

BASE_SEED = 0  # a base model's new layers are the same in every study, whatever its seed


class Material(ABC):
    """What is trained: a model, and data.

    Attributes:
        name: as recorded; where it is empty, what the task was asked for by.
        default_model: the source handed to `load_model` where none is asked for; it may stay
            empty where `load_model` is defined anew.
        default_space: the search space where none is asked for; where it is empty, "default" for
            a task with a reference, else "plain".
        fixed: hyperparameters that every trial holds, where neither the space nor the user says.
        rate_factor: best learning rate relative to that of plain fine-tuning, for "auto".
        notes: what a user should be told of the data, a line each; known once it is loaded.
        prepares_reference: whether `prepare` computes what the model is compared with later, so
            that it is called in the precision of forward passes.
        form: what an example is made of, which code that is exported makes alike: "blocks" cut from
            texts in a row, "texts", "completions" of prompts, "chats", "chat completions",
            "labels" of texts, "sources" of an encoder's, "pairs"; empty for anything else. Known
            once data is loaded.
        adapter_type: of peft's `TaskType`, "" for none: which layers beside a LoRA adapter's are
            trained, such as a classifier's head.
    """

    name: str = ""
    default_model: str = ""
    default_space: str = ""
    fixed: Mapping[str, Value] = {}
    rate_factor: float = 1.0
    notes: Sequence[str] = ()
    prepares_reference: bool = False
    form: str = ""
    adapter_type: str = ""

    @abstractmethod
    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        """Return all splits, the same at every call.

        Args:
            model_source: what `load_model` will be given, since a tokenizer may belong to it.
            sequence_length: the longest example, in tokens; None leaves it to the task.

        Raises:
            WorldError: the data is missing, or doesn't fit the model or the length.
        """

    def load_model(self, source: str, seed: int) -> torch.nn.Module:
        """Return the base model, in float32 on the CPU; `seed` is for weights drawn at random."""
        return models.load_model(source, seed)

    def prepare(self, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
        """Complete model (in place) and data, each of which may need the other.

        Args:
            model: the base model, on its device.
            data: on the same device.

        Returns:
            The data, and the token-equivalents spent.
        """
        return data, 0.0

    def example_tokens(self, split: Split) -> torch.Tensor:
        """Return the training tokens that each example counts for: (n,), 1 where it is one."""
        return torch.ones(split_size(split), dtype=torch.long)

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        """Write trained weights, and what else their user needs, into a folder.

        By default that is what `from_pretrained` loads, or `model.safetensors` alone.
        """
        models.save_model(model, folder)


class Loss(ABC):
    """What training minimises.

    Attributes:
        chance_loss: of guessing, where that is known: a loss that the base model's being good
            doesn't turn into an explosion.
    """

    chance_loss: float = 0.0

    @abstractmethod
    def loss_sum(self, model: torch.nn.Module, batch: Split) -> torch.Tensor:
        """Return the differentiable loss, summed over the counted units of a batch: a scalar."""

    def loss_sum_with(
        self, model: torch.nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        """Return what training minimises at a step's hyperparameters; see `ParametricLoss`."""
        return self.loss_sum(model, batch)

    def loss_count(self, batch: Split) -> int:
        """Return how many units `loss_sum` sums over: examples, if not something finer."""
        return split_size(batch)


class Metrics(ABC):
    """How a model is judged.

    Attributes:
        objective: the entry of `metrics` that is tuned.
        maximize: whether more of it is better.
        unit: of the objective; empty for a share or a count.
        objective_scale: what counts as a large change of it; rewards are divided by it.
        metric_scales: the same of other metrics, where it isn't 1.
        forgetting_weight: of forgetting in the objective, where there is retained data.
        default_max_divergence: the limit on divergence where none is asked for; None for none.
        prediction_passes: forward passes a token that `predict` takes of held-out examples.
    """

    objective: str = "loss"
    maximize: bool = False
    unit: str = ""
    objective_scale: float = 1.0
    metric_scales: Mapping[str, float] = {}
    forgetting_weight: float = 0.0
    default_max_divergence: float | None = None
    prediction_passes: float = 1.0

    @abstractmethod
    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        """Return what `metrics` needs to know of each example; leading dimension n.

        Called without gradients, with validation, test and retained batches; outputs are
        concatenated over a split.
        """

    @abstractmethod
    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return metrics of a split from the outputs of `predict`: objective, "loss", any others.

        "loss" is the mean over the units of `loss_count`; its rise on retained data is forgetting.
        """

    def metrics_with(
        self, outputs: dict[str, torch.Tensor], hyperparameters: Mapping[str, Value]
    ) -> dict[str, float]:
        """Return the metrics at a trial's last hyperparameters; see `ParametricMetrics`."""
        return self.metrics(outputs)


class Task(Material, Loss, Metrics):
    """What is trained and how it is judged. Subclass it to tune something of your own.

    A worker makes one task, calls `load_data`, `load_model` and `prepare` once, in this order, and
    then the other methods for every batch of every trial. These compute: they keep nothing between
    calls, and change neither the model nor the batch; devices, precision, train and eval mode,
    gradients and random seeds are the caller's business. Their batches are splits of fewer
    examples.
    """
