"""What a real run is made of, and what its base model is worth: the facts of a study."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hpopt_search_spaces import SearchSpace, Value

from ..errors import foreign
from ..records import RunFacts
from ..tasks.base import Task
from ..tasks.checks import check_base
from ..tasks.data import Data
from ..tasks.preview import has_probe
from ..tasks.roles import (
    ParametricLoss,
    Reference,
    evaluation_passes,
    has_reference,
    rollout_passes,
    weighs_divergence,
)
from ..training_run import Evaluation
from .evaluation import BATCH_TOKENS, Evaluator
from .hyperparameters import understood
from .plan import Lengths, Plan
from .real import PENALTY_COST, PROBE_EXAMPLES, RealRun
from .weights import Weights

EXPLODED_LOSS_RATIO = 4.0  # a mean loss over this multiple of the base model's has exploded


@dataclass(frozen=True)
class Parts:
    """What a real run is made of, loaded, complete and checked.

    Attributes:
        task: with the objective that is asked for.
        source: of its model.
        model_hash: of the base weights.
        data: on the model's device.
        weights: at the base weights, in the default's structure.
        space: resolved.
        held: hyperparameters that every trial has beside the space's.
        lengths: of the training examples.
        plan: of segments and trials.
        precision: of forward passes.
        max_divergence: the limit, if there is one.
        setup_cost: token-equivalents spent so far.
        baseline, notes: see `RunFacts`.
    """

    task: Task
    source: str
    model_hash: str
    data: Data
    weights: Weights
    space: SearchSpace
    held: Mapping[str, Value]
    lengths: Lengths
    plan: Plan
    precision: torch.dtype
    max_divergence: float | None
    setup_cost: float
    baseline: Mapping[str, Value]
    notes: tuple[str, ...]

    @property
    def token_cost(self) -> float:
        """Token-equivalents of a training token."""
        return 1.0 + rollout_passes(self.task) / 3

    @property
    def retained_tokens(self) -> float:
        """Mean tokens of the examples that divergence is measured on."""
        retained = self.data.retained_train or self.data.train
        return float(self.task.example_tokens(retained).double().mean())

    @property
    def penalized(self) -> bool:
        """Whether trials may have a penalty on divergence that isn't the loss's own."""
        name = "divergence_weight"
        searched = name in (*self.space.names, *self.held, *self.baseline)
        return searched and not weighs_divergence(self.task)


def measured(parts: Parts) -> RealRun:
    """Evaluate the base model, and return a run that knows it.

    Raises:
        WorldError: the base model can't be evaluated, or has nothing to improve.
    """
    task, evaluator = parts.task, _evaluator(parts)
    asked = {**parts.held, **parts.space.defaults()}
    with foreign(f"task {task.name}: evaluating the base model"):
        base = evaluator.evaluate("validation", whole=True, asked=asked)
        part = evaluator.evaluate("validation", whole=False, asked=asked)
    check_base(task, base.metrics)
    facts = _facts(parts, evaluator, base, part)
    return RealRun(task, parts.weights, evaluator, facts, parts.precision)


def _evaluator(parts: Parts) -> Evaluator:
    """Return one whose sets are as large as the plan can afford.

    Forward passes cost 1/3 a token: at most 20% of a segment's compute, 10% of a trial's.
    """
    task, plan, mean = parts.task, parts.plan, parts.lengths.mean
    compared = parts.retained_tokens if isinstance(task, Reference) else 0.0
    evaluated = mean * evaluation_passes(task) + compared
    subset = max(1, int(0.2 * parts.token_cost * plan.segment_tokens * 3 / evaluated))
    whole = max(1, int(0.1 * parts.token_cost * plan.trial_tokens * 3 / evaluated))
    batch = max(1, BATCH_TOKENS // mean)
    whole = whole // batch * batch or whole
    sizes = {"subset": min(subset, whole), "whole": whole}
    return Evaluator(task, parts.data, parts.weights, parts.precision, **sizes)


def _facts(parts: Parts, evaluator: Evaluator, base: Evaluation, subset: Evaluation) -> RunFacts:
    """Return the facts; the base model was evaluated on the whole set, and on its first part."""
    task, weights, lengths, plan = parts.task, parts.weights, parts.lengths, parts.plan
    penalty_cost = PENALTY_COST * parts.retained_tokens / lengths.mean
    return RunFacts(
        task=task.name,
        model=parts.source,
        objective_name=task.objective,
        maximize=task.maximize,
        unit=task.unit,
        objective_scale=task.objective_scale,
        forgetting_weight=task.forgetting_weight,
        fixed=parts.held,
        max_divergence=parts.max_divergence,
        has_reference=has_reference(task),
        sequence_length=lengths.mean,
        epoch_tokens=lengths.total,
        segment_tokens=plan.segment_tokens,
        trial_tokens=plan.trial_tokens,
        total_parameters=weights.total_count,
        trainable_parameters=weights.trained_count,
        lora=weights.has_adapter,
        base_metrics=base.metrics,
        base_objective=base.objective,
        base_objective_subset=subset.objective,
        base_loss=subset.metrics["loss"],
        exploded_loss=EXPLODED_LOSS_RATIO * max(subset.metrics["loss"], task.chance_loss),
        penalty_cost=penalty_cost if parts.penalized else 0.0,
        validation_cost=evaluator.cost(whole=False),
        final_validation_cost=evaluator.cost(whole=True),
        setup_cost=parts.setup_cost + base.cost + _base_probe_cost(parts),
        data_hash=parts.data.hash,
        model_hash=parts.model_hash,
        token_cost=parts.token_cost,
        default_max_divergence=task.default_max_divergence,
        has_probe=has_probe(task),
        baseline=parts.baseline,
        notes=(*task.notes, *parts.notes),
        hyperparameters=understood(task if isinstance(task, ParametricLoss) else None),
        precision=str(parts.precision).removeprefix("torch."),
        examples=lengths.examples,
        form=task.form,
    )


def _base_probe_cost(parts: Parts) -> float:
    """Return what the base model's loss on the probe's retained examples costs, once."""
    if parts.data.retained_train is None or not has_probe(parts.task):
        return 0.0
    return PROBE_EXAMPLES // 2 * parts.retained_tokens / 3
