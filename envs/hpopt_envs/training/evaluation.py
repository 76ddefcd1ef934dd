"""Measuring a model: the task's metrics, forgetting and divergence, on fixed sets.

The reference's logits on the evaluation sets are computed once and kept where they are few, not
once a trial.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

import torch

from hpopt_search_spaces import Value

from ..divergences.f_divergence import divergence
from ..errors import WorldError
from ..randomness import key
from ..tasks.base import Task
from ..tasks.data import Data, Split, split_size
from ..tasks.micro_batches import MicroBatches, parts
from ..tasks.roles import Reference, Rollouts, evaluation_passes
from ..training_run import Evaluation, Probe
from .gradients import DIVERGENCE
from .machine import casting
from .rollouts import roll_out
from .weights import Weights

BATCH_TOKENS = 4096  # of an evaluation batch
KEPT_BYTES = 2**30  # of the reference's logits, over all evaluation sets

Result = TypeVar("Result")


class Evaluator:
    """Evaluates the model whose weights the training run points at a trial's.

    Args:
        task: says how to measure.
        data: its splits, already on the device.
        weights: the model, and its reference.
        precision: of the forward passes.
        subset: examples of each domain that a validation between segments takes.
        whole: examples of each domain that the evaluation at a trial's end takes.
    """

    def __init__(
        self,
        task: Task,
        data: Data,
        weights: Weights,
        precision: torch.dtype,
        *,
        subset: int,
        whole: int,
    ) -> None:
        self.data = data
        self.device = next(weights.model.parameters()).device
        self._task = task
        self._weights = weights
        self._precision = precision
        self._sizes = {False: subset, True: whole}
        splits = (data.validation, data.test, data.retained_validation, data.retained_test)
        self._batch_size = max(1, BATCH_TOKENS // max(self._longest(s) for s in splits if s))
        self._memory = MicroBatches()
        self._kept: dict[tuple[str, int], torch.Tensor] = {}
        self._base_retained_loss: dict[tuple[str, bool], float] = {}
        self._base_probe_loss: float | None = None

    def cost(self, whole: bool, split: str = "validation") -> float:
        """Return the token-equivalents of one evaluation: a forward pass costs 1/3 a token."""
        own, retained = self._rows(split, whole)
        tokens = self._tokens(own) * evaluation_passes(self._task)
        if isinstance(self._task, Reference):
            tokens += self._tokens(own if retained is None else retained)
        return tokens / 3

    @torch.no_grad()
    def probe(self, own: Split, retained: Split | None, asked: Mapping[str, Value]) -> Probe:
        """Measure the model as it is on training examples.

        Args:
            own: of the task.
            retained: of what is to be retained, the same ones in every call; None for nothing.
            asked: the trial's last hyperparameters, which losses may depend on.
        """
        self._weights.model.eval()
        loss, cost = self._task_metrics(own, asked)["loss"], self._tokens(own) / 3
        if retained is None:
            return Probe(loss, cost)
        if self._base_probe_loss is None:  # its cost is in the set-up's
            with self._weights.as_base():
                self._base_probe_loss = self._task_metrics(retained, asked)["loss"]
        risen = self._task_metrics(retained, asked)["loss"] - self._base_probe_loss
        return Probe(loss, cost + self._tokens(retained) / 3, risen)

    @torch.no_grad()
    def evaluate(self, split: str, whole: bool, asked: Mapping[str, Value]) -> Evaluation:
        """Return the metrics of the model as it is, in evaluation mode.

        Args:
            split: "validation" or "test".
            whole: all of the set, or its first part.
            asked: the trial's last hyperparameters, which metrics may depend on.
        """
        self._weights.model.eval()
        own, retained = self._rows(split, whole)
        metrics, recomputed = self._task_metrics(own, asked), 0
        if self._task.objective not in metrics:
            raise WorldError(
                f"objective: must be one of the task's metrics, {', '.join(sorted(metrics))}, but "
                f"got {self._task.objective!r}"
            )
        if retained is not None:
            if (split, whole) not in self._base_retained_loss:
                with self._weights.as_base():
                    base = self._task_metrics(retained, asked)["loss"]
                self._base_retained_loss[split, whole] = base
            loss = self._task_metrics(retained, asked)["loss"]
            metrics["forgetting"] = loss - self._base_retained_loss[split, whole]
        if isinstance(self._task, Reference):
            compared = own if retained is None else retained
            metrics["divergence"], recomputed = self._divergence(self._task, split, compared)
        cost = self.cost(whole, split) + recomputed / 3
        return Evaluation(metrics, self._objective(metrics), cost)

    def _objective(self, metrics: Mapping[str, float]) -> float:
        sign = -1.0 if self._task.maximize else 1.0
        value = sign * metrics[self._task.objective]
        return value + self._task.forgetting_weight * metrics.get("forgetting", 0.0)

    def _divergence(self, task: Reference, name: str, split: Split) -> tuple[float, int]:
        """Return the mean divergence, and for how many tokens the reference was run again."""
        total, count, recomputed = 0.0, 0, 0
        for number, batch in enumerate(self._batches(split)):
            counted, place = task.logits_count(batch), (name, number)
            # A validation's first part is the whole one's first part: one cache serves both.
            kept = self._kept.get(place)
            if kept is not None and len(kept) < counted:
                kept = None
            elsewhere = sum(logits.nbytes for p, logits in self._kept.items() if p != place)
            values, computed = self._compared(task, batch, kept, KEPT_BYTES - elsewhere)
            if computed is not None:
                self._kept[place] = computed
            elif kept is None:
                recomputed += self._tokens(batch)
            total += float(values.sum())
            count += counted
        return total / count, recomputed

    def _compared(
        self, task: Reference, batch: Split, kept: torch.Tensor | None, room: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compare a batch's distributions with the reference's, a part at a time.

        Args:
            task: has the distributions.
            batch: of some split.
            kept: the reference's logits (at least as many as count, classes), where they are.
            room: bytes that may be kept.

        Returns:
            Divergences (counted,), and the reference's logits (counted, classes) where they
            were computed and have room.
        """

        def all_parts(size: int) -> tuple[torch.Tensor, torch.Tensor | None]:
            values: list[torch.Tensor] = []
            computed: list[torch.Tensor] = []
            seen = used = 0
            for part in parts(batch, size):
                logits = self._logits(task, part)
                if kept is None:
                    with self._weights.as_base():
                        reference = self._logits(task, part)
                    used += reference.nbytes
                    computed = [*computed, reference] if used <= room else []
                else:
                    reference = kept[seen : seen + len(logits)]
                seen += len(logits)
                values.append(divergence(DIVERGENCE, reference, logits))
            return torch.cat(values), torch.cat(computed) if computed else None

        return self._in_parts(batch, all_parts)

    def _logits(self, task: Reference, part: Split) -> torch.Tensor:
        """Return those of the distributions that count, in order: (counted, classes)."""
        with self._autocast():
            logits, mask = task.logits(self._weights.model, part)
        return logits[mask]

    def _task_metrics(self, split: Split, asked: Mapping[str, Value]) -> dict[str, float]:
        outputs: list[dict[str, torch.Tensor]] = []
        devices = [self.device] if self.device.type == "cuda" else []
        rolls_out = isinstance(self._task, Rollouts)
        with torch.random.fork_rng(devices=devices, enabled=rolls_out):
            for number, batch in enumerate(self._batches(split)):
                if rolls_out:  # the same draws in every evaluation of a split
                    torch.manual_seed(key(number, "evaluation"))
                    batch = roll_out(self._task, self._weights, batch, self._memory, self._autocast)
                outputs += self._in_parts(batch, partial(self._predictions, batch))
        joined = {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
        measured = self._task.metrics_with(joined, asked)
        metrics = {name: float(value) for name, value in measured.items()}
        if "loss" not in metrics:
            names = ", ".join(sorted(metrics))
            raise WorldError(f"task {self._task.name}: metrics() must have 'loss', but has {names}")
        return metrics

    def _predictions(self, batch: Split, size: int) -> list[dict[str, torch.Tensor]]:
        with self._autocast():
            return [self._task.predict(self._weights.model, part) for part in parts(batch, size)]

    def _batches(self, split: Split) -> Iterator[Split]:
        """Cut a split or its first part, at the same places."""
        return parts(split, self._batch_size)

    def _in_parts(self, batch: Split, work: Callable[[int], Result]) -> Result:
        """Do something for a batch in parts of a size, in examples, that fits into memory."""
        return self._memory.run(split_size(batch), self._longest(batch), work)

    def _autocast(self) -> torch.autocast:
        return casting(self.device, self._precision)

    def _tokens(self, split: Split) -> int:
        return int(self._task.example_tokens(split).sum())

    def _longest(self, split: Split) -> int:
        return int(self._task.example_tokens(split).max())

    def _rows(self, name: str, whole: bool) -> tuple[Split, Split | None]:
        """Return the first examples of a split, and of the retained one where there is one."""
        own, retained = self.data.validation, self.data.retained_validation
        if name != "validation":
            own, retained = self.data.test, self.data.retained_test
        first = self._sizes[whole]
        return _first(own, first), None if retained is None else _first(retained, first)


def _first(split: Split, size: int) -> Split:
    return {name: tensor[:size] for name, tensor in split.items()}
