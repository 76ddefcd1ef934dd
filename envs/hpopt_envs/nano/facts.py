"""What is fixed for a study of a nano task: space, plan, and what its base model is worth."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from hpopt_search_spaces import IntegerParameter, SearchSpace, TrainingFacts, Value, load_space

from ..errors import WorldError
from ..records import RunFacts
from ..settings import EnvironmentSettings
from ..tasks.objective import divergence_limit
from ..training.baseline import check_baseline, note, outside
from ..training.facts import EXPLODED_LOSS_RATIO
from ..training.hyperparameters import check_hyperparameters, extremes
from ..training.plan import Lengths, Plan, batch_sizes, plan_trial
from ..training_run import Evaluation
from .examples import RETAINED_TRAIN
from .families import LEAST_BATCH, SEGMENTS, Family, NanoTask
from .measures import Losses
from .optimizers import KINDS
from .world import PROBE_EXAMPLES, Lanes, World

UNDERSTOOD = (
    *("learning_rate", "batch_size", "divergence_weight", "final_divergence_weight", "optimizer"),
    *("weight_decay", "max_gradient_norm", "schedule_shape", "warmup_fraction", "final_fraction"),
)
PENALTY_COST = 0.5  # token-equivalents: half as many retained examples, and the reference is kept
# Predictions of an evaluation: what its share of the training pays for, but between two numbers.
SUBSET_SHARE, SUBSET = 0.2, (64, 512)  # of a segment
WHOLE_SHARE, WHOLE = 0.1, (512, 2048)  # of a trial


@dataclass(frozen=True)
class Study:
    """One task of a world, as it is tuned.

    Attributes:
        facts: of the run.
        space: resolved.
        subset, whole: examples of an evaluation between segments, and of one at a trial's end; half
            as many of retained text are measured beside.
    """

    facts: RunFacts
    space: SearchSpace
    subset: int
    whole: int


def study_of(world: World, k: int, base: Lanes, settings: EnvironmentSettings) -> Study:
    """Return the study of a world's task.

    Args:
        world: that has it.
        k: its position there.
        base: runs of all tasks that aren't trained yet.
        settings: what is asked for; its `task` is read by whoever made the world.

    Raises:
        SpaceError, WorldError: they ask for what a nano task doesn't have.
    """
    settings.refuse(
        "a nano task",
        *("model", "sequence_length", "objective", "precision", "gradient_checkpointing"),
    )
    task, tokens = world.tasks[k], world.form.tokens
    asked = settings.load_space(own_space(task.family).to_dict())
    held = settings.held(asked, {"optimizer": task.optimizer})
    _check(asked, held)
    own_weight, weight = task.forgetting_weight, settings.forgetting_weight
    known = _training_facts(
        world, k, held, own_weight if weight is None else float(weight), settings.trial_tokens
    )
    space, baseline = settings.displaced(asked.resolve(known)), dict(settings.baseline or {})
    beside, sizes = outside(space, baseline), batch_sizes(space, held, task.examples)
    check_baseline(beside, {**held, **space.defaults()}, None, sizes)
    _check_understood({name: (value,) for name, value in beside.items()}, "baseline")
    sizes += [int(beside["batch_size"])] if "batch_size" in beside else []
    plan = _plan(task, sizes, tokens, settings)
    subset = _examples(world, SUBSET, SUBSET_SHARE * plan.segment_tokens)
    whole = _examples(world, WHOLE, WHOLE_SHARE * plan.trial_tokens)
    part, all_of_it = (
        evaluation(
            task,
            known.forgetting_weight,
            world.evaluate(base, "validation", size, [k]),
            0,
            size * tokens,
        )
        for size in (subset, whole)
    )
    facts = replace(
        _facts(world, k, known, plan, part, all_of_it),
        fixed=held,
        max_divergence=divergence_limit(settings.max_divergence, None),
        baseline=baseline,
        notes=note(beside, space),
    )
    return Study(facts, space, subset, whole)


def _facts(
    world: World, k: int, known: TrainingFacts, plan: Plan, part: Evaluation, whole: Evaluation
) -> RunFacts:
    """Return the facts; the base model was evaluated on a part of validation, and on the whole."""
    task, loss = world.tasks[k], part.metrics["loss"]
    choices = task.family.classes or task.family.architecture.vocabulary
    data = (tensor for table in world.data.values() for tensor in table.of_task(k))
    kind = "attention" if world.architecture.attention else "MLP"
    return RunFacts(
        task=task.name,
        model=f"{kind} of {world.architecture.parameters:,} parameters",
        objective_name="loss",
        maximize=False,
        unit="nats/label" if task.family.classes else "nats/token",
        objective_scale=1.0,
        forgetting_weight=known.forgetting_weight,
        fixed={},
        max_divergence=None,
        has_reference=True,
        sequence_length=known.sequence_length,
        epoch_tokens=task.examples * known.sequence_length,
        segment_tokens=plan.segment_tokens,
        trial_tokens=plan.trial_tokens,
        total_parameters=known.total_parameters,
        trainable_parameters=known.trainable_parameters,
        lora=known.lora,
        base_metrics=whole.metrics,
        base_objective=whole.objective,
        base_objective_subset=part.objective,
        base_loss=loss,
        exploded_loss=EXPLODED_LOSS_RATIO * max(loss, math.log(choices)),
        penalty_cost=PENALTY_COST,
        validation_cost=part.cost,
        final_validation_cost=whole.cost,
        setup_cost=whole.cost + RETAINED_TRAIN * known.sequence_length / 3,
        data_hash=_hash(*data),
        model_hash=_hash(world.base[k]),
        hyperparameters=UNDERSTOOD,
    )


def probe_cost(facts: RunFacts) -> float:
    """Return the token-equivalents of a probe: a forward pass, half as many retained examples."""
    return 1.5 * PROBE_EXAMPLES * facts.sequence_length / 3


def own_space(family: Family) -> SearchSpace:
    """Return the space of a family's tasks, unresolved: the default one, with batches that fit."""
    space = load_space("default")
    batch = space["batch_size"]
    assert isinstance(batch, IntegerParameter)
    fitting = replace(batch, low=LEAST_BATCH, high=family.largest_batch)
    parameters = (fitting if p is batch else p for p in space.parameters)
    return replace(space, name="nano", parameters=tuple(parameters))


def evaluation(task: NanoTask, weight: float, losses: Losses, row: int, tokens: int) -> Evaluation:
    """Return what was measured of one run.

    Args:
        task: that it is of.
        weight: of forgetting, in the objective.
        losses: of some runs.
        row: which of these.
        tokens: of the target that were measured; half as many were of retained text.
    """
    metrics = {
        "loss": float(losses.target[row]),
        "forgetting": float(losses.forgetting[row]),
        "divergence": float(losses.divergence[row]),
    }
    if task.family.classes:
        metrics["accuracy"] = float(losses.accuracy[row])
    objective = metrics["loss"] + weight * metrics["forgetting"]
    return Evaluation(metrics, objective, 1.5 * tokens / 3)


def _check(space: SearchSpace, held: Mapping[str, Value]) -> None:
    """Make sure that nano training understands all hyperparameters.

    Raises:
        WorldError: it doesn't.
    """
    check_hyperparameters(space, held)
    values: dict[str, tuple[Value, ...]] = {p.name: extremes(p) for p in space.parameters}
    values |= {name: (value,) for name, value in held.items()}
    _check_understood(values, f"space {space.name!r}")


def _check_understood(values: Mapping[str, tuple[Value, ...]], where: str) -> None:
    for name in values:
        if name not in UNDERSTOOD:
            raise WorldError(f"{where}: a nano task has no {name}")
    for optimizer in values.get("optimizer", ()):
        if optimizer not in KINDS:
            known = ", ".join(KINDS)
            raise WorldError(f"optimizer: must be {known} for a nano task, but got {optimizer!r}")
    for size in values.get("batch_size", ()):
        if not isinstance(size, int) or size % 2:
            raise WorldError(f"batch_size: must be even for a nano task, but got {size!r}")


def _training_facts(
    world: World, k: int, held: Mapping[str, Value], weight: float, trial_tokens: int | None
) -> TrainingFacts:
    family = world.tasks[k].family
    return TrainingFacts(
        total_parameters=world.architecture.parameters,
        trainable_parameters=world.part.counts[k],
        training_tokens=trial_tokens or family.horizon * LEAST_BATCH * world.form.tokens,
        sequence_length=world.form.tokens,
        lora=family.rank is not None,
        optimizer=str(held.get("optimizer", "adamw")),
        forgetting_weight=weight,
        retained_surprise=float(world.surprise[k]),
    )


def _plan(
    task: NanoTask, sizes: list[int], example_tokens: int, settings: EnvironmentSettings
) -> Plan:
    """Cut a trial into the family's segments, or into longer ones where batches need them."""
    examples, step = task.family.horizon * LEAST_BATCH, math.lcm(*sizes)
    own = examples // SEGMENTS
    whole = own if own % step == 0 else -(-own // step) * step
    segment = settings.segment_tokens or whole * example_tokens
    trial = settings.trial_tokens or max(1, examples * example_tokens // segment) * segment
    lengths = Lengths(example_tokens, True, task.examples * example_tokens, task.examples)
    return plan_trial(sizes, lengths, segment, trial)


def _examples(world: World, ends: tuple[int, int], budget: float) -> int:
    """Return how many examples an evaluation has that may cost so many token-equivalents."""
    least, most = (end // world.form.targets for end in ends)
    return max(least, min(most, int(budget * 3 / 1.5 / world.form.tokens)))


def _hash(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
