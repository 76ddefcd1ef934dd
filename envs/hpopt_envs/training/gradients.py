"""The gradient of one optimizer step: task loss and penalty, in micro-batches that fit."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hpopt_search_spaces import Value

from ..divergences.f_divergence import divergence
from ..randomness import key
from ..tasks.base import Task
from ..tasks.data import Split, split_size
from ..tasks.micro_batches import MicroBatches, parts
from ..tasks.roles import Reference, Rollouts
from .machine import casting
from .rollouts import roll_out
from .weights import Weights

DIVERGENCE = "forward_kl"  # the penalty's, where it isn't given; the one that is measured
DIVERGENCE_ALPHA = 0.5  # of the α-divergence, where it isn't given


@dataclass(frozen=True)
class StepGradient:
    """What an optimizer step's gradient was made of: scalars on the model's device.

    Attributes:
        loss: mean task loss of the batch, per counted unit.
        penalty: mean D_f of the retained batch, per counted distribution; 0 without one.
        noise, signal: estimates of tr Σ, the trace of the covariance of single examples' gradients,
            and of |G|², the squared norm of the gradient that is estimated; NaN where the batch
            wasn't cut.
    """

    loss: torch.Tensor
    penalty: torch.Tensor
    noise: torch.Tensor
    signal: torch.Tensor


class Gradients:
    """Computes gradients of a task's loss on a model.

    Args:
        task: has the loss.
        weights: has the model.
        precision: of the forward passes; the weights keep theirs.
    """

    def __init__(self, task: Task, weights: Weights, precision: torch.dtype) -> None:
        self._task = task
        self._weights = weights
        self._precision = precision
        self._memory = MicroBatches()
        self._device = next(weights.model.parameters()).device

    def rollout(self, batch: Split, hyperparameters: Mapping[str, Value], seed: int) -> Split:
        """Return what the task makes of a batch before its loss: samples of the model, say.

        Args:
            batch: of the task's training data.
            hyperparameters: of the step.
            seed: keys the draws; what doesn't fit into memory at once is drawn otherwise.

        Raises:
            torch.OutOfMemoryError: not even one example fits.
        """
        if not isinstance(self._task, Rollouts):
            return batch
        torch.manual_seed(key(seed, "rollout"))
        made = roll_out(self._task, self._weights, batch, self._memory, self._autocast)
        with torch.no_grad():
            return self._task.weigh(made, hyperparameters)

    def compute(
        self,
        batch: Split,
        retained: Split | None,
        hyperparameters: Mapping[str, Value],
        seed: int,
    ) -> StepGradient:
        """Set the gradients of the trained parameters.

        Cutting a batch changes nothing but memory: the loss is normalised by its whole count.

        Args:
            batch: of the task's training data, rolled out.
            retained: what the penalty is measured on; None for no penalty.
            hyperparameters: of the step.
            seed: keys what the forward passes draw, however often they are tried.

        Raises:
            torch.OutOfMemoryError: not even one example fits.
        """
        examples = max(split_size(batch), 0 if retained is None else split_size(retained))
        longest = [int(self._task.example_tokens(b).max()) for b in (batch, retained) if b]

        def work(size: int) -> StepGradient:
            torch.manual_seed(key(seed))
            for parameter in self._weights.parameters:
                parameter.grad = None
            step = self._task_gradient(batch, size, hyperparameters)
            if retained is None:
                return step
            penalty = self._penalty_gradient(retained, size, hyperparameters)
            return StepGradient(step.loss, penalty, step.noise, step.signal)

        return self._memory.run(examples, max(longest), work)

    def _task_gradient(
        self, batch: Split, size: int, hyperparameters: Mapping[str, Value]
    ) -> StepGradient:
        count, total = self._task.loss_count(batch), torch.zeros((), device=self._device)
        model = self._weights.model
        first_square = unknown = torch.full((), torch.nan, device=self._device)
        for number, part in enumerate(parts(batch, size)):
            with self._autocast():
                loss = self._task.loss_sum_with(model, part, hyperparameters) / count
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            if number == 0 and size < split_size(batch):
                first_square = self._square_norm() * (count / self._task.loss_count(part)) ** 2
        if size >= split_size(batch):
            return StepGradient(total, torch.zeros_like(total), unknown, unknown)
        noise, signal = noise_and_signal(first_square, self._square_norm(), size, split_size(batch))
        return StepGradient(total, torch.zeros_like(total), noise, signal)

    def _penalty_gradient(
        self, batch: Split, size: int, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        """Add the penalty's gradient to the task's; return the mean D_f(policy, reference)."""
        task = self._task
        assert isinstance(task, Reference)  # else `check_hyperparameters` refuses penalties
        name = str(hyperparameters.get("divergence", DIVERGENCE))
        alpha = float(hyperparameters.get("divergence_alpha", DIVERGENCE_ALPHA))
        weight = float(hyperparameters["divergence_weight"])
        count, total = task.logits_count(batch), torch.zeros((), device=self._device)
        for part in parts(batch, size):
            with self._autocast(), self._weights.as_base():
                reference, _ = task.logits(self._weights.model, part)
            with self._autocast():
                logits, mask = task.logits(self._weights.model, part)
            penalty = (divergence(name, reference, logits, alpha) * mask).sum() / count
            (weight * penalty).backward()  # type: ignore[no-untyped-call]
            total += penalty.detach()
        return total

    def _autocast(self) -> torch.autocast:
        return casting(self._device, self._precision)

    def _square_norm(self) -> torch.Tensor:
        gradients = [p.grad for p in self._weights.parameters if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients) ** 2


def noise_and_signal(
    small_square: torch.Tensor, big_square: torch.Tensor, small: int, big: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimate tr Σ and |G|² from the squared norms of two gradients.

    Their ratio is the simple noise scale, in examples (McCandlish et al. 2018, arXiv 1812.06162,
    appendix A.1).

    Args:
        small_square: of the mean gradient of `small` examples.
        big_square: of the mean gradient of `big` examples.
        small: less than `big`.
        big: examples.
    """
    noise = (small_square - big_square) / (1 / small - 1 / big)
    signal = (big * big_square - small * small_square) / (big - small)
    return noise, signal
