"""A simulated run: the noisy quadratic, in closed form, thousands of segments a second.

Zhang et al. 2019 (arXiv 1907.04164): SGD on ½ Σ h_i (w_i − a_i)² with gradient noise of variance
c_i/B a coordinate. With learning rate α, penalty weight β of curvature k_i around the base weights
0, H_i = h_i + β k_i and A_i = 1 − α H_i, n steps take the mean m and the variance v of w_i to

    m ← m* + A^n (m − m*),  m* = h a / H,      v ← A^2n v + α² c/B · (1 − A^2n)/(1 − A²).

It stands in for a model of 0.56 M parameters whose validation loss starts at 4.6 nats a token, so
that searchers, pool, journal and resume are tested in milliseconds a trial.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpopt_search_spaces import SearchSpace, TrainingFacts, Value

from ..episode.features import Array
from ..randomness import key
from ..records import Outcome, RunFacts
from ..schedules import divergence_weight_at, learning_rate_at
from ..settings import EnvironmentSettings
from ..tasks.objective import divergence_limit
from ..training.baseline import check_baseline, note, outside
from ..training.hyperparameters import check_hyperparameters, understood
from ..training.plan import Lengths, Plan, batch_sizes, plan_trial
from ..training_run import Evaluation, Probe, Progress
from ..worlds import SIMULATION

DIMENSIONS = 32
FLOOR = 2.6  # nats a token that no training removes
GAIN = 2.0  # nats a token between the base model and the floor
STRETCHES = 4  # a segment's learning rate is constant over each of these
EVALUATION_NOISE = {False: 0.03, True: 0.01}  # nats a token: subset, whole
PARAMETERS = 560_000
SEQUENCE_LENGTH = 64  # tokens
PROBE_EXAMPLES = 16
PENALTY_COST = 4 / 3  # token-equivalents a training token costs more at a divergence weight > 0


@dataclass(frozen=True)
class Quadratic:
    """The task: curvature, optimum, noise and the reference's curvature, shape (dimensions,)."""

    curvature: Array
    optimum: Array
    noise: Array
    reference_curvature: Array

    @classmethod
    def default(cls) -> "Quadratic":
        generator = np.random.default_rng(0)
        curvature: Array = 200.0 * np.arange(1, DIMENSIONS + 1, dtype=np.float64) ** -1.2
        signs = generator.choice([-1.0, 1.0], DIMENSIONS)
        return cls(
            curvature=curvature,
            optimum=signs * np.sqrt(2.0 * GAIN / (DIMENSIONS * curvature)),
            noise=0.015 * curvature,
            reference_curvature=curvature * generator.uniform(0.0, 1.0, DIMENSIONS),
        )

    def task_loss(self, mean: Array, variance: Array) -> float:
        distance = (mean - self.optimum) ** 2 + variance
        return FLOOR + 0.5 * float(np.sum(self.curvature * distance))

    def divergence(self, mean: Array, variance: Array) -> float:
        return 0.5 * float(np.sum(self.reference_curvature * (mean**2 + variance)))

    def advance(
        self, mean: Array, variance: Array, rate: float, batch: int, weight: float, steps: float
    ) -> tuple[Array, Array]:
        """Return mean and variance after `steps` steps, the formulas above."""
        total = self.curvature + weight * self.reference_curvature
        target = self.curvature * self.optimum / total
        factor = 1.0 - rate * total
        # |A|^n keeps the closed form real where a step overshoots and n isn't whole.
        decay = np.sign(factor) * np.abs(factor) ** steps
        square = np.abs(factor) ** (2 * steps)
        settled = 1.0 - factor**2
        grown = np.where(np.abs(settled) > 1e-12, (1.0 - square) / settled, steps)
        noise = np.float64(rate) ** 2 * self.noise / batch  # infinite where Python's would raise
        return target + decay * (mean - target), square * variance + noise * grown


@dataclass
class SimulatedState:
    """Mean and variance of the weights, shape (dimensions,), and what draws are keyed by."""

    seed: int
    mean: Array
    variance: Array
    training_tokens: int = 0


class SimulatedRun:
    """See `TrainingRun` for what each method promises."""

    def __init__(self, facts: RunFacts) -> None:
        self.facts = facts
        self._task = Quadratic.default()

    def start(self, seed: int) -> SimulatedState:
        return SimulatedState(seed, np.zeros(DIMENSIONS), np.zeros(DIMENSIONS))

    def advance(
        self,
        state: SimulatedState,
        hyperparameters: Mapping[str, Value],
        segment: int,
        tokens: int | None = None,
    ) -> Progress:
        batch = int(hyperparameters["batch_size"])
        tokens = tokens or self.facts.segment_tokens
        steps = tokens // (batch * self.facts.sequence_length)
        losses, divergences, weights = [], [], []
        before = state.training_tokens
        with np.errstate(over="ignore", invalid="ignore"):
            for stretch in range(STRETCHES):
                position = (before + tokens * stretch / STRETCHES) / self.facts.trial_tokens
                rate = learning_rate_at(position, hyperparameters)
                weights.append(divergence_weight_at(position, hyperparameters))
                state.mean, state.variance = self._task.advance(
                    state.mean, state.variance, rate, batch, weights[-1], steps / STRETCHES
                )
                losses.append(self._task.task_loss(state.mean, state.variance))
                divergences.append(self._task.divergence(state.mean, state.variance))
            state.training_tokens = before + tokens
            gradient = self._task.curvature * (state.mean - self._task.optimum)
            norm = float(np.sqrt(np.sum(gradient**2)))
            spread = float(np.sqrt(np.sum(self._task.noise) / batch))
        noise = np.random.default_rng(key(state.seed, "segment", segment)).normal(0.0, 0.02)
        loss = float(np.mean(losses)) + float(noise)
        exploded = not loss <= self.facts.exploded_loss
        return Progress(
            tokens=tokens,
            optimizer_steps=steps,
            train_loss=loss,
            penalty=float(np.mean(divergences)) if max(weights) > 0.0 else None,
            gradient_norm=norm,
            gradient_norm_std=spread,
            clip_fraction=0.0,
            noise_scale=None,
            cost=tokens * (1.0 + self.facts.penalty_cost * float(np.mean(np.array(weights) > 0))),
            outcome=Outcome.EXPLODED if exploded else None,
            reason=f"mean training loss {loss:.4g}" if exploded else "",
        )

    def probe(self, state: SimulatedState) -> Probe:
        noise = np.random.default_rng(key(state.seed, "probe")).normal(0.0, 0.1)
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self._task.task_loss(state.mean, state.variance)
            forgetting = self._task.divergence(state.mean, state.variance)
        cost = 1.5 * PROBE_EXAMPLES * SEQUENCE_LENGTH / 3
        return Probe(loss + float(noise), cost, forgetting)

    def evaluate(self, state: SimulatedState, split: str, whole: bool) -> Evaluation:
        draw = np.random.default_rng(key(state.seed, split, state.training_tokens, int(whole)))
        noise = draw.normal(0.0, EVALUATION_NOISE[whole], 2)
        loss = self._task.task_loss(state.mean, state.variance) + float(noise[0])
        divergence = self._task.divergence(state.mean, state.variance)
        forgetting = divergence + float(noise[1])
        metrics = {"loss": loss, "forgetting": forgetting, "divergence": divergence}
        objective = loss + self.facts.forgetting_weight * forgetting
        cost = self.facts.final_validation_cost if whole else self.facts.validation_cost
        return Evaluation(metrics, objective, cost)

    def snapshot(self, state: SimulatedState) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors = {
            "mean": torch.from_numpy(state.mean.copy()),
            "variance": torch.from_numpy(state.variance.copy()),
        }
        return tensors, {"seed": state.seed, "training_tokens": state.training_tokens}

    def restore(
        self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
    ) -> SimulatedState:
        mean, variance = (tensors[name].numpy().copy() for name in ("mean", "variance"))
        return SimulatedState(meta["seed"], mean, variance, meta["training_tokens"])

    def save_weights(self, state: SimulatedState, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.json").write_text(json.dumps({"mean": state.mean.tolist()}))


def simulated_run(settings: EnvironmentSettings) -> tuple[SimulatedRun, SearchSpace]:
    """Build a simulated run.

    Returns:
        The run, and the space that is asked for, resolved.

    Raises:
        SpaceError, WorldError: the settings ask for what a simulation doesn't have.
    """
    settings.refuse(
        "the simulated task",
        *("model", "sequence_length", "objective", "forgetting_weight"),
        *("precision", "gradient_checkpointing"),
    )
    space = settings.load_space("default")
    held = settings.held(space, {})
    check_hyperparameters(space, held)
    examples, segment, trial = 10**7, settings.segment_tokens, settings.trial_tokens
    known = TrainingFacts(
        PARAMETERS,
        PARAMETERS,
        trial or 16 * 4096,
        SEQUENCE_LENGTH,
        lora=False,
        retained_surprise=math.inf,  # "auto" is for distributions; this penalty is best at 0.1
    )
    resolved = settings.displaced(space.resolve(known))
    lengths = Lengths(SEQUENCE_LENGTH, True, examples * SEQUENCE_LENGTH, examples)
    baseline, sizes = dict(settings.baseline or {}), batch_sizes(resolved, held, examples)
    beside = outside(resolved, baseline)
    check_baseline(beside, {**held, **resolved.defaults()}, None, sizes)
    sizes += [int(beside["batch_size"])] if "batch_size" in beside else []
    plan = plan_trial(sizes, lengths, segment, trial)
    limit = divergence_limit(settings.max_divergence, None)
    facts = replace(
        _facts(lengths, plan, limit), fixed=held, baseline=baseline, notes=note(beside, resolved)
    )
    return SimulatedRun(facts), resolved


def _facts(lengths: Lengths, plan: Plan, max_divergence: float | None) -> RunFacts:
    loss = FLOOR + GAIN
    return RunFacts(
        task=SIMULATION.task,
        model="noisy quadratic",
        objective_name="loss",
        maximize=False,
        unit="nats/token",
        objective_scale=1.0,
        forgetting_weight=0.5,
        fixed={},
        max_divergence=max_divergence,
        has_reference=True,
        sequence_length=SEQUENCE_LENGTH,
        epoch_tokens=lengths.total,
        segment_tokens=plan.segment_tokens,
        trial_tokens=plan.trial_tokens,
        total_parameters=PARAMETERS,
        trainable_parameters=PARAMETERS,
        lora=False,
        base_metrics={"loss": loss, "forgetting": 0.0, "divergence": 0.0},
        base_objective=loss,
        base_objective_subset=loss,
        base_loss=loss,
        exploded_loss=4.0 * loss,
        penalty_cost=PENALTY_COST,
        validation_cost=0.2 * plan.segment_tokens,
        final_validation_cost=0.08 * plan.trial_tokens,
        setup_cost=0.08 * plan.trial_tokens,
        data_hash="simulated",
        model_hash="simulated",
        hyperparameters=understood(),
    )
