"""A real training run from its parts: how much is evaluated, and the facts of the study."""

from collections.abc import Mapping
from typing import Any

import torch

from hpopt_search_spaces import Value

from ..errors import foreign
from ..records import RunFacts
from ..tasks.base import Data, Task, compares, has_reference, passes
from ..tasks.checks import check_base
from .evaluation import BATCH_TOKENS, Evaluator
from .plan import Lengths, Plan
from .real import PENALTY_COST, RealRun
from .weights import Weights

EXPLODED_LOSS_RATIO = 4.0  # a mean loss over this multiple of the base model's has exploded


def real_run(
    task: Task,
    weights: Weights,
    data: Data,
    lengths: Lengths,
    plan: Plan,
    *,
    precision: torch.dtype,
    setup_cost: float,
    penalized: bool,
    defaults: Mapping[str, Value],
    **about: Any,
) -> RealRun:
    """Evaluate the base model, and put the facts together.

    Args:
        task: with the objective that is asked for.
        weights: at the base weights, in the default's structure.
        data: complete, on the model's device.
        lengths: of the training examples.
        plan: of segments and trials.
        precision: of forward passes.
        setup_cost: token-equivalents spent so far.
        penalized: whether trials may have a penalty on divergence.
        defaults: hyperparameters that the base model's metrics are measured with.
        about: further facts.

    Raises:
        WorldError: the base model can't be evaluated, or has nothing to improve.
    """
    token_cost = 1.0 + task.rollout_passes / 3
    retained = data.retained_train or data.train
    retained_tokens = float(task.example_tokens(retained).double().mean())
    evaluated = lengths.mean * passes(task) + (retained_tokens if compares(task) else 0.0)
    # Forward passes cost 1/3 a token: at most 20% of a segment's compute, 10% of a trial's.
    subset = max(1, int(0.2 * token_cost * plan.segment_tokens * 3 / evaluated))
    whole = max(1, int(0.1 * token_cost * plan.trial_tokens * 3 / evaluated))
    batch = max(1, BATCH_TOKENS // lengths.mean)
    whole = whole // batch * batch or whole
    evaluator = Evaluator(task, data, weights, precision, subset=min(subset, whole), whole=whole)
    with foreign(f"task {task.name}: evaluating the base model"):
        asked = {name: defaults[name] for name in task.measured_with if name in defaults}
        base = evaluator.evaluate("validation", whole=True, asked=asked)
        part = evaluator.evaluate("validation", whole=False, asked=asked)
    check_base(task, base.metrics)
    facts = RunFacts(
        task=task.name,
        objective_name=task.objective,
        maximize=task.maximize,
        unit=task.unit,
        objective_scale=task.objective_scale,
        forgetting_weight=task.forgetting_weight,
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
        base_objective_subset=part.objective,
        base_loss=part.metrics["loss"],
        exploded_loss=EXPLODED_LOSS_RATIO * max(part.metrics["loss"], task.chance_loss),
        penalty_cost=PENALTY_COST * retained_tokens / lengths.mean if penalized else 0.0,
        validation_cost=evaluator.cost(whole=False),
        final_validation_cost=evaluator.cost(whole=True),
        setup_cost=setup_cost + base.cost,
        data_hash=data.hash,
        token_cost=token_cost,
        default_max_divergence=task.default_max_divergence,
        has_probe=task.has_probe,
        **about,
    )
    return RealRun(task, weights, evaluator, facts, precision)
