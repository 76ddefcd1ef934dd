"""Real fine-tuning: a torch model, a task, and the segment loop."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from hpopt_search_spaces import Value

from ..randomness import key
from ..records import Outcome, RunFacts
from ..schedules import divergence_weight_at, learning_rate_at
from ..tasks.base import Task
from ..tasks.data import Split, split_size
from ..tasks.micro_batches import is_out_of_memory
from ..tasks.roles import Rollouts, samples_per_example, weighs_divergence
from ..training_run import Evaluation, Probe, Progress
from .evaluation import Evaluator
from .gradients import Gradients, StepGradient
from .optimizers import (
    MAX_GRADIENT_NORM,
    as_measured,
    build_optimizer,
    set_dropout,
    set_weight_decay,
)
from .plan import WHOLE_BATCH
from .samples import write_samples
from .states import RunState, restore_optimizer, restore_state, snapshot_state
from .threads import using_threads
from .weights import Structure, Weights

PROBE_EXAMPLES = 16
PENALTY_COST = 4 / 3  # a retained token passes forward and backward, and forward in the reference


@lru_cache(maxsize=4)  # every step of an epoch asks
def _order(size: int, seed: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


class RealRun:
    """Fine-tuning runs of one model on one task; see `TrainingRun` for what each method promises.

    The base weights are loaded once. Run states hold what a trial trains, which the model's
    parameters point at while their state is in use.
    """

    def __init__(
        self,
        task: Task,
        weights: Weights,
        evaluator: Evaluator,
        facts: RunFacts,
        precision: torch.dtype,
    ) -> None:
        self.task = task
        self.weights = weights
        self.facts = facts
        self._evaluator = evaluator
        data = evaluator.data
        self._splits = {"task": data.train, "penalty": data.retained_train or data.train}
        self._tokens = {name: task.example_tokens(s).cpu() for name, s in self._splits.items()}
        self._device = evaluator.device
        self._gradients = Gradients(task, weights, precision)
        self._threads = torch.get_num_threads()  # the trials' are those of where it was made
        self._own_dropout: dict[torch.nn.Module, float] = {}

    def start(self, seed: int) -> RunState:
        return RunState(seed)

    def advance(
        self,
        state: RunState,
        hyperparameters: Mapping[str, Value],
        segment: int,
        tokens: int | None = None,
    ) -> Progress:
        steps: list[torch.Tensor] = []
        before, retained_tokens = state.training_tokens, 0
        mark = state.mark + (tokens or self.facts.segment_tokens)
        devices = [self._device] if self._device.type == "cuda" else []
        try:
            self._activate(state, hyperparameters)
            self.weights.model.train()
            with torch.random.fork_rng(devices=devices), using_threads(self._threads):
                # At least a step, since one of long examples may be longer than a segment.
                while not steps or state.training_tokens < mark:
                    seed = key(state.seed, "segment", segment, len(steps))
                    step, retained = self._step(state, hyperparameters, seed)
                    steps.append(step)
                    retained_tokens += retained
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return self._out_of_memory(str(error), tokens or self.facts.segment_tokens)
        state.mark = mark
        trained = state.training_tokens - before
        return self._progress(
            torch.stack(steps).double().cpu(), trained, retained_tokens, hyperparameters
        )

    def _step(
        self, state: RunState, hyperparameters: Mapping[str, Value], seed: int
    ) -> tuple[torch.Tensor, int]:
        """Take an optimizer step.

        Returns:
            Loss, penalty, noise, signal and gradient norm, shape (5,); and retained tokens.
        """
        assert state.optimizer is not None
        task, size = self.task, self.batch_size(hyperparameters)
        batch, tokens = self._draw(state, "task", size // samples_per_example(task))
        retained, retained_tokens = None, 0
        weight = divergence_weight_at(self._position(state), hyperparameters)
        if weight > 0.0 and not weighs_divergence(task):
            retained, retained_tokens = self._draw(state, "penalty", size)
        now = {**hyperparameters, "divergence_weight": weight}
        state.asked = now
        if isinstance(task, Rollouts):
            batch = self._gradients.rollout(batch, now, seed)
            tokens = int(task.example_tokens(batch).sum())
        step: StepGradient = self._gradients.compute(batch, retained, now, seed)
        limit = float(hyperparameters.get("max_gradient_norm", MAX_GRADIENT_NORM))
        norm = torch.nn.utils.clip_grad_norm_(self.weights.parameters, limit)
        self._set_learning_rate(state, hyperparameters)
        state.optimizer.step()
        state.training_tokens += tokens
        made_of = (step.loss, step.penalty, step.noise, step.signal, norm.detach())
        return torch.stack(made_of), retained_tokens

    def batch_size(self, hyperparameters: Mapping[str, Value]) -> int:
        """Return the sequences an optimizer step."""
        asked = hyperparameters["batch_size"]
        whole = split_size(self._splits["task"]) * samples_per_example(self.task)
        return whole if asked == WHOLE_BATCH else int(asked)

    def _set_learning_rate(self, state: RunState, hyperparameters: Mapping[str, Value]) -> None:
        assert state.optimizer is not None
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate_at(self._position(state), hyperparameters)

    def _position(self, state: RunState) -> float:
        """Return the share of the trial's tokens that came before this step."""
        return state.training_tokens / self.facts.trial_tokens

    def _draw(self, state: RunState, purpose: str, batch_size: int) -> tuple[Split, int]:
        """Return the next batch and its tokens.

        The order is keyed by (trial's seed, purpose, epoch), and goes on across epochs.
        """
        split, cursor = self._splits[purpose], state.cursors[purpose]
        size = split_size(split)
        rows = torch.empty(0, dtype=torch.long)
        while len(rows) < batch_size:
            epoch, begin = divmod(cursor + len(rows), size)
            rows = torch.cat([rows, _order(size, key(state.seed, purpose, epoch))[begin:]])
        rows = rows[:batch_size]
        state.cursors[purpose] += batch_size
        index = rows.to(self._device)
        batch = {name: tensor[index] for name, tensor in split.items()}
        return batch, int(self._tokens[purpose][rows].sum())

    def _progress(
        self,
        steps: torch.Tensor,
        tokens: int,
        retained_tokens: int,
        hyperparameters: Mapping[str, Value],
    ) -> Progress:
        """Sum up a segment from its steps' rows of `_step`, shape (steps, 5)."""
        loss, penalty, noise, signal, norm = steps.T
        mean = float(loss.mean())
        exploded = not bool(torch.isfinite(norm).all()) or not mean <= self.facts.exploded_loss
        limit = float(hyperparameters.get("max_gradient_norm", MAX_GRADIENT_NORM))
        return Progress(
            tokens=tokens,
            optimizer_steps=len(steps),
            train_loss=mean,
            penalty=float(penalty.mean()) if retained_tokens else None,
            gradient_norm=float(norm.mean()),
            gradient_norm_std=float(norm.std(correction=0)),
            clip_fraction=float((norm > limit).double().mean()),
            noise_scale=self._noise_scale(noise, signal, hyperparameters),
            cost=tokens * self.facts.token_cost + PENALTY_COST * retained_tokens,
            outcome=Outcome.EXPLODED if exploded else None,
            reason=(
                f"mean training loss {mean:.4g}, of the base model {self.facts.base_loss:.4g}"
                if exploded
                else ""
            ),
        )

    def _noise_scale(
        self, noise: torch.Tensor, signal: torch.Tensor, hyperparameters: Mapping[str, Value]
    ) -> float | None:
        """Return the simple noise scale, in batches; None where it is lost in noise, or unknown.

        Both parts are averaged over the segment, since their ratio at one step is biased.
        """
        spread, square = float(noise.nanmean()), float(signal.nanmean())
        if not (spread > 0 and square > 0):
            return None
        return spread / square / self.batch_size(hyperparameters)

    def _out_of_memory(self, message: str, tokens: int) -> Progress:
        return Progress(
            tokens=tokens,
            optimizer_steps=0,
            train_loss=float("nan"),
            penalty=None,
            gradient_norm=float("nan"),
            gradient_norm_std=float("nan"),
            clip_fraction=0.0,
            noise_scale=None,
            cost=tokens * (self.facts.token_cost + self.facts.penalty_cost),
            outcome=Outcome.OUT_OF_MEMORY,
            reason=message.splitlines()[0],
        )

    def probe(self, state: RunState) -> Probe:
        own = self._probed(self._splits["task"], key(state.seed, "probe"), PROBE_EXAMPLES)
        retained = self._evaluator.data.retained_train
        # The same for all trials, so that the base model's loss on it is measured once.
        kept = None if retained is None else self._probed(retained, 0, PROBE_EXAMPLES // 2)
        self._point_to(state)
        with using_threads(self._threads), as_measured(state.optimizer):
            return self._evaluator.probe(own, kept, state.asked)

    def _probed(self, split: Split, seed: int, examples: int) -> Split:
        index = _order(split_size(split), seed)[:examples].to(self._device)
        return {name: tensor[index] for name, tensor in split.items()}

    def evaluate(self, state: RunState, split: str, whole: bool) -> Evaluation:
        self._point_to(state)
        with using_threads(self._threads), as_measured(state.optimizer):
            return self._evaluator.evaluate(split, whole, state.asked)

    def snapshot(self, state: RunState) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return snapshot_state(state)

    def restore(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> RunState:
        state = restore_state(tensors, meta, self._device)
        if state.structure is not None:
            self._point_to(state)
            state.optimizer = build_optimizer(state.optimizer_name, self.weights.parameters)
            restore_optimizer(state.optimizer, tensors, meta)
        return state

    def save_weights(self, state: RunState, folder: Path) -> None:
        self._point_to(state)
        with using_threads(self._threads), as_measured(state.optimizer):
            self.task.save_model(self.weights.model, folder)
            write_samples(self.task, self.weights, self._evaluator.data.test, folder)

    def _activate(self, state: RunState, hyperparameters: Mapping[str, Value]) -> None:
        """Point the model at a trial, which begins with its first segment's structure."""
        if state.structure is None:
            state.structure = Structure.of(hyperparameters)
            state.tensors = self.weights.begin(state.structure, key(state.seed, "weights"))
        self._point_to(state)
        if state.optimizer is None:
            state.optimizer_name = str(hyperparameters.get("optimizer", "adamw"))
            state.optimizer = build_optimizer(state.optimizer_name, self.weights.parameters)
        set_weight_decay(state.optimizer, hyperparameters)
        rate = hyperparameters.get("dropout")
        set_dropout(self.weights.model, None if rate is None else float(rate), self._own_dropout)

    def _point_to(self, state: RunState) -> None:
        if state.structure is None:
            self.weights.use_base()
        else:
            self.weights.use(state.structure, state.tensors)
