"""Measuring a model: the task's metrics, forgetting and divergence, on fixed sets.

The reference's log-probabilities on the evaluation sets are computed once and kept, not once a
trial.
"""

from collections.abc import Mapping

import torch

from ..divergence import forward_kl
from ..errors import WorldError
from ..tasks import Data, Split, Task
from .base import Evaluation

EVALUATION_BATCH = 64  # examples


def split_size(split: Split) -> int:
    """Return the number of examples of a split."""
    return len(next(iter(split.values())))


class Evaluator:
    """Evaluates the model it was given, whose weights the training run points at a trial's.

    Args:
        task: says how to measure.
        data: its splits, already on the device.
        model: measured.
        reference: frozen copy of the base model; None for a task without one.
        example_tokens: task tokens an example.
        subset: examples of each domain that a validation between segments takes.
        whole: examples of each domain that the evaluation at a trial's end takes.
        forgetting_weight: weight of forgetting in the objective.
    """

    def __init__(
        self,
        task: Task,
        data: Data,
        model: torch.nn.Module,
        reference: torch.nn.Module | None,
        *,
        example_tokens: int,
        subset: int,
        whole: int,
        forgetting_weight: float,
    ) -> None:
        self.data = data
        self.device = next(model.parameters()).device
        self._task = task
        self._model = model
        self._reference = reference
        self._example_tokens = example_tokens
        self._sizes = {False: subset, True: whole}
        self._forgetting_weight = forgetting_weight
        self._kept: dict[tuple[str, int], torch.Tensor] = {}
        self._base_retained_loss: dict[tuple[str, bool], float] = {}

    def cost(self, whole: bool, split: str = "validation") -> float:
        """Return the token-equivalents of one evaluation: a forward pass costs 1/3 a token."""
        examples = len(self._rows(self._splits(split)[0], whole))
        retained = self._splits(split)[1]
        if retained is not None:
            examples += len(self._rows(retained, whole))
        return examples * self._example_tokens / 3

    @torch.no_grad()
    def evaluate(self, split: str, whole: bool) -> Evaluation:
        """Return the metrics of the model as it is, in evaluation mode."""
        self._model.eval()
        task_split, retained = self._splits(split)
        metrics = self._task_metrics(self._model, task_split, whole)
        if retained is not None:
            if (split, whole) not in self._base_retained_loss:
                assert self._reference is not None
                base = self._task_metrics(self._reference, retained, whole)
                self._base_retained_loss[split, whole] = base["loss"]
            loss = self._task_metrics(self._model, retained, whole)["loss"]
            metrics["forgetting"] = loss - self._base_retained_loss[split, whole]
            metrics["divergence"] = self._divergence(split, retained, whole)
        return Evaluation(metrics, self._objective(metrics), self.cost(whole, split))

    def _objective(self, metrics: Mapping[str, float]) -> float:
        sign = -1.0 if self._task.maximize else 1.0
        value = sign * metrics[self._task.objective]
        return value + self._forgetting_weight * metrics.get("forgetting", 0.0)

    @torch.no_grad()
    def reference_log_probs(self, batch: Split) -> torch.Tensor:
        """Return the reference's log-probabilities on a retained batch."""
        assert self._reference is not None
        logits, _ = self._task.logits(self._reference, batch)
        return torch.log_softmax(logits.float(), dim=-1)

    def _divergence(self, name: str, split: Split, whole: bool) -> float:
        total = count = 0.0
        for number, batch in enumerate(self._batches(split, whole)):
            logits, mask = self._task.logits(self._model, batch)
            # The subset is the first part of the whole, so one cache serves both.
            if (name, number) not in self._kept or len(self._kept[name, number]) < len(mask):
                self._kept[name, number] = self.reference_log_probs(batch)
            divergence = forward_kl(self._kept[name, number][: len(mask)], logits)
            total += float((divergence * mask).sum())
            count += float(mask.sum())
        return total / count

    def _task_metrics(self, model: torch.nn.Module, split: Split, whole: bool) -> dict[str, float]:
        outputs = [self._task.predict(model, batch) for batch in self._batches(split, whole)]
        joined = {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
        metrics = {name: float(value) for name, value in self._task.metrics(joined).items()}
        names, objective = ", ".join(sorted(metrics)), self._task.objective
        if "loss" not in metrics:
            raise WorldError(f"task {self._task.name}: metrics() must have 'loss', but has {names}")
        if objective not in metrics:
            raise WorldError(
                f"objective: must be one of the task's metrics, {names}, but got {objective!r}"
            )
        return metrics

    def _batches(self, split: Split, whole: bool) -> list[Split]:
        rows = self._rows(split, whole)
        return [
            {name: tensor[part.start : part.stop] for name, tensor in split.items()}
            for part in (rows[i : i + EVALUATION_BATCH] for i in rows[::EVALUATION_BATCH])
        ]

    def _rows(self, split: Split, whole: bool) -> range:
        return range(min(self._sizes[whole], split_size(split)))

    def _splits(self, name: str) -> tuple[Split, Split | None]:
        if name == "validation":
            return self.data.validation, self.data.retained_validation
        return self.data.test, self.data.retained_test
