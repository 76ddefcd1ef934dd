"""Real fine-tuning: a torch model, a task, and the segment loop."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hpopt_search_spaces import Value

from ..divergence import forward_kl
from ..randomness import key
from ..records import Outcome, RunFacts
from ..tasks import Split, Task
from .base import Evaluation, Progress
from .evaluation import Evaluator
from .optimizers import build_optimizer, set_hyperparameters
from .schedules import shape_factor

MAX_GRADIENT_NORM = 1.0
EXPLODED_LOSS_RATIO = 4.0  # a mean loss over this multiple of the base model's has exploded


@dataclass
class RunState:
    """What a trial owns.

    Attributes:
        seed: what its draws are keyed by.
        tensors: trained parameters and the model's buffers, by name.
        optimizer: None before the first segment.
        optimizer_name: of that optimizer.
        training_tokens: task tokens trained on so far.
        cursors: examples drawn so far from "train" and "retained_train".
    """

    seed: int
    tensors: dict[str, torch.Tensor]
    optimizer: torch.optim.Optimizer | None = None
    optimizer_name: str = ""
    training_tokens: int = 0
    cursors: dict[str, int] = field(default_factory=lambda: {"train": 0, "retained_train": 0})


class RealRun:
    """Fine-tuning runs of one model on one task; see `TrainingRun` for what each method promises.

    The base weights are loaded once. Run states hold the trained tensors, which are pointed to by
    the model's parameters while their state is in use.
    """

    def __init__(
        self, task: Task, model: torch.nn.Module, evaluator: Evaluator, facts: RunFacts
    ) -> None:
        self.task = task
        self.model = model
        self.facts = facts
        self._evaluator = evaluator
        self._train = evaluator.data.train
        self._retained = evaluator.data.retained_train
        self._device = evaluator.device
        self._slots = trained_slots(model)
        self._base = {name: slot.detach().clone() for name, slot in self._slots.items()}

    def start(self, seed: int) -> RunState:
        return RunState(seed, {name: tensor.clone() for name, tensor in self._base.items()})

    def advance(
        self, state: RunState, hyperparameters: Mapping[str, Value], segment: int
    ) -> Progress:
        self._activate(state, hyperparameters)
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(key(state.seed, "segment", segment))
            self.model.train()
            try:
                steps = self._train_steps(state, hyperparameters)
            except torch.OutOfMemoryError as error:
                return self._out_of_memory(str(error))
        return self._progress(steps, hyperparameters)

    def _train_steps(
        self, state: RunState, hyperparameters: Mapping[str, Value]
    ) -> list[torch.Tensor]:
        """Train one segment; return a tensor (loss, penalty, gradient norm) an optimizer step."""
        assert state.optimizer is not None
        batch_size = int(hyperparameters["batch_size"])
        weight = float(hyperparameters.get("divergence_weight", 0.0))
        step_tokens = batch_size * self.task.example_tokens(self.facts.sequence_length)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        batches = self._batches(state, "train", self._train, batch_size)
        retained = self._batches(state, "retained_train", self._retained, batch_size)
        steps = []
        for _ in range(self.facts.segment_tokens // step_tokens):
            self._set_learning_rate(state, hyperparameters)
            state.optimizer.zero_grad(set_to_none=True)
            batch = next(batches)
            loss = self.task.loss_sum(self.model, batch) / self.task.loss_count(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            penalty = torch.zeros((), device=self._device)
            if weight > 0.0:
                penalty = self._penalty(next(retained))
                (weight * penalty).backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
            state.optimizer.step()
            state.training_tokens += step_tokens
            steps.append(torch.stack([loss.detach(), penalty.detach(), norm.detach()]))
        return steps

    def _penalty(self, batch: Split) -> torch.Tensor:
        """Mean D_f(reference, policy) over a retained batch, nats per token."""
        logits, mask = self.task.logits(self.model, batch)
        divergence = forward_kl(self._evaluator.reference_log_probs(batch), logits)
        return (divergence * mask).sum() / mask.sum()

    def _set_learning_rate(self, state: RunState, hyperparameters: Mapping[str, Value]) -> None:
        factor = shape_factor(
            state.training_tokens / self.facts.trial_tokens,
            str(hyperparameters.get("schedule_shape", "constant")),
            float(hyperparameters.get("warmup_fraction", 0.0)),
        )
        assert state.optimizer is not None
        for group in state.optimizer.param_groups:
            group["lr"] = float(hyperparameters["learning_rate"]) * factor

    def _batches(
        self, state: RunState, name: str, split: Split | None, batch_size: int
    ) -> Iterator[Split]:
        """Yield batches in an order keyed by (trial's seed, epoch), going on across epochs."""
        if split is None:
            return
        size = len(next(iter(split.values())))
        epoch, order = -1, torch.empty(0, dtype=torch.long)
        while True:
            rows = []
            for position in range(state.cursors[name], state.cursors[name] + batch_size):
                if position // size != epoch:
                    epoch = position // size
                    generator = torch.Generator().manual_seed(key(state.seed, name, epoch))
                    order = torch.randperm(size, generator=generator)
                rows.append(order[position % size])
            state.cursors[name] += batch_size
            index = torch.stack(rows).to(self._device)
            yield {field_name: tensor[index] for field_name, tensor in split.items()}

    def _progress(
        self, steps: list[torch.Tensor], hyperparameters: Mapping[str, Value]
    ) -> Progress:
        loss, penalty, norm = torch.stack(steps).double().cpu().T
        penalised = float(hyperparameters.get("divergence_weight", 0.0)) > 0.0
        mean = float(loss.mean())
        exploded = not bool(torch.isfinite(norm).all()) or not (
            mean <= EXPLODED_LOSS_RATIO * self.facts.base_loss
        )
        tokens = self.facts.segment_tokens
        return Progress(
            tokens=tokens,
            optimizer_steps=len(steps),
            train_loss=mean,
            penalty=float(penalty.mean()) if penalised else None,
            gradient_norm=float(norm.mean()),
            gradient_norm_std=float(norm.std(correction=0)),
            clip_fraction=float((norm > MAX_GRADIENT_NORM).double().mean()),
            cost=tokens * (1.0 + (self.facts.penalty_cost if penalised else 0.0)),
            outcome=Outcome.EXPLODED if exploded else None,
            reason=(
                f"mean training loss {mean:.4g}, of the base model {self.facts.base_loss:.4g}"
                if exploded
                else ""
            ),
        )

    def _out_of_memory(self, message: str) -> Progress:
        return Progress(
            tokens=self.facts.segment_tokens,
            optimizer_steps=0,
            train_loss=float("nan"),
            penalty=None,
            gradient_norm=float("nan"),
            gradient_norm_std=float("nan"),
            clip_fraction=0.0,
            cost=self.facts.segment_tokens * (1.0 + self.facts.penalty_cost),
            outcome=Outcome.OUT_OF_MEMORY,
            reason=message.splitlines()[0],
        )

    def evaluate(self, state: RunState, split: str, whole: bool) -> Evaluation:
        self._point_to(state)
        return self._evaluator.evaluate(split, whole)

    def snapshot(self, state: RunState) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors = {f"model.{name}": t.detach().cpu().clone() for name, t in state.tensors.items()}
        if state.optimizer is not None:
            for index, moments in state.optimizer.state_dict()["state"].items():
                for name, moment in moments.items():
                    if moment is not None:
                        tensors[f"optimizer.{index}.{name}"] = moment.detach().cpu().clone()
        meta = {
            "seed": state.seed,
            "optimizer_name": state.optimizer_name,
            "training_tokens": state.training_tokens,
            "cursors": dict(state.cursors),
        }
        return tensors, meta

    def restore(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> RunState:
        state = RunState(
            seed=meta["seed"],
            tensors={n: tensors[f"model.{n}"].to(self._device).clone() for n in self._base},
            optimizer_name=meta["optimizer_name"],
            training_tokens=meta["training_tokens"],
            cursors=dict(meta["cursors"]),
        )
        if state.optimizer_name:
            self._point_to(state)
            state.optimizer = self._new_optimizer(state.optimizer_name)
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith("optimizer."):
                    _, index, moment = name.split(".")
                    moments.setdefault(int(index), {})[moment] = tensor.clone()
            groups = state.optimizer.state_dict()["param_groups"]
            state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        return state

    def save_weights(self, state: RunState, folder: Path) -> None:
        self._point_to(state)
        self.task.save_model(self.model, folder)

    def _activate(self, state: RunState, hyperparameters: Mapping[str, Value]) -> None:
        self._point_to(state)
        if state.optimizer is None:
            state.optimizer_name = str(hyperparameters.get("optimizer", "adamw"))
            state.optimizer = self._new_optimizer(state.optimizer_name)
        set_hyperparameters(state.optimizer, self.model, hyperparameters)

    def _new_optimizer(self, name: str) -> torch.optim.Optimizer:
        return build_optimizer(name, [p for p in self.model.parameters() if p.requires_grad])

    def _point_to(self, state: RunState) -> None:
        for name, slot in self._slots.items():
            slot.data = state.tensors[name]


def trained_slots(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what training may change in a model: its trainable parameters and its buffers."""
    slots: dict[str, torch.Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    slots.update(model.named_buffers())
    return slots
