"""A real training run from its parts: how much is evaluated, and the facts of the study."""

from typing import Any

import torch

from ..errors import foreign
from ..plan import Lengths, Plan
from ..records import RunFacts
from ..task_checks import check_base
from ..tasks.base import Data, Task
from .evaluation import BATCH_TOKENS, Evaluator, has_reference
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
        penalized: whether trials may have a divergence weight.
        about: further facts.

    Raises:
        WorldError: the base model can't be evaluated, or has nothing to improve.
    """
    retained = data.retained_train or data.train
    retained_tokens = float(task.example_tokens(retained).double().mean())
    pair = lengths.mean + (retained_tokens if has_reference(task) else 0.0)
    # Forward passes cost 1/3 a token: at most 20% of a segment's compute, 10% of a trial's.
    subset = max(1, int(0.2 * plan.segment_tokens * 3 / pair))
    whole = max(1, int(0.1 * plan.trial_tokens * 3 / pair))
    batch = max(1, BATCH_TOKENS // lengths.mean)
    whole = whole // batch * batch or whole
    evaluator = Evaluator(task, data, weights, precision, subset=min(subset, whole), whole=whole)
    with foreign(f"task {task.name}: evaluating the base model"):
        base = evaluator.evaluate("validation", whole=True)
        part = evaluator.evaluate("validation", whole=False)
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
        **about,
    )
    return RealRun(task, weights, evaluator, facts, precision)
