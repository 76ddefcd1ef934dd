"""Building environments from names and numbers: what `gymnasium.make` and workers call."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from hpopt_search_spaces import SearchSpace, SpaceError, TrainingFacts, Value, load_space

from .checks import check_base, check_reference, check_space, check_training
from .environment import FineTuneEnv
from .errors import WorldError, foreign
from .models import model_hash
from .plan import Plan, plan_trial
from .records import RunFacts
from .tasks import Data, Split, Task, load_task
from .training.base import TrainingRun
from .training.evaluation import EVALUATION_BATCH, Evaluator, split_size
from .training.real import RealRun
from .training.simulated import FLOOR, GAIN, PARAMETERS, SimulatedRun

BASE_SEED = 0  # a base model's new layers are the same in every study, whatever its seed
SEQUENCE_LENGTH = 64  # tokens, where it isn't given
PENALTY_COST = 4 / 3  # a retained token passes forward and backward, and forward in the reference


def make_env(
    task: str = "lm",
    model: str | None = None,
    space: str | Mapping[str, Any] | None = None,
    *,
    view: str = "absolute",
    validate_segments: bool = True,
    sequence_length: int | None = None,
    segment_tokens: int | None = None,
    trial_tokens: int | None = None,
    objective: str | None = None,
    forgetting_weight: float | None = None,
    baseline: Mapping[str, Value] | None = None,
    device: str = "auto",
) -> FineTuneEnv:
    """Build the environment of a task.

    Args:
        task: "simulated", or what `hpopt_envs.tasks.load_task` takes.
        model: a Hugging Face id, a local path or "module:factory"; the task's own by default.
        space: a name, a TOML file, or `SearchSpace.to_dict()`; the task's own by default.
        view: "absolute", "relative" or "discrete", see `hpopt_envs.actions`.
        validate_segments: measure on validation between segments.
        sequence_length: tokens an example, 64 by default.
        segment_tokens: task tokens a segment, see `hpopt_envs.plan`.
        trial_tokens: task tokens a trial, see `hpopt_envs.plan`.
        objective: one of the task's metrics, with ":min" or ":max" where it isn't the task's own.
        forgetting_weight: weight of forgetting in the objective; the task's own by default.
        baseline: values that replace the space's defaults.
        device: "cpu", "cuda", or "auto" for the first that is there.

    Raises:
        SpaceError, WorldError: one line, where something can't be had or doesn't fit.
    """
    torch.set_num_threads(1)
    where = _device(device)
    if task == "simulated":
        _check_left_out(
            model=model,
            sequence_length=sequence_length,
            objective=objective,
            forgetting_weight=forgetting_weight,
        )
        return _simulated(space, view, validate_segments, segment_tokens, trial_tokens, baseline)
    loaded = load_task(task)
    _set_objective(loaded, objective, forgetting_weight)
    length = sequence_length or SEQUENCE_LENGTH
    source = model or loaded.default_model
    with foreign(f"task {loaded.name}: load_model({source!r})"):
        net = loaded.load_model(source, BASE_SEED).to(where)
    with foreign(f"task {loaded.name}: load_data()"):
        data = _to_device(loaded.load_data(source, length), where)
    fitting = "plain" if data.retained_train is None else "default"
    searched = _load_space(space or loaded.default_space or fitting, baseline)
    check_reference(searched, loaded, data)
    check_training(loaded, net, data)
    tokens = loaded.example_tokens(length)
    epoch_tokens = split_size(data.train) * tokens
    resolved, plan = _resolve(searched, net, tokens, epoch_tokens, segment_tokens, trial_tokens)
    run = _real_run(loaded, source, net, data, length, plan)
    return FineTuneEnv(run, resolved, view=view, validate_segments=validate_segments)


def _real_run(
    task: Task, source: str, model: torch.nn.Module, data: Data, length: int, plan: Plan
) -> TrainingRun:
    tokens = task.example_tokens(length)
    has_reference = data.retained_train is not None
    domains = 2 if has_reference else 1
    # Forward passes cost 1/3 a token: at most 20% of a segment's compute, 10% of a trial's.
    subset = max(1, int(0.2 * plan.segment_tokens * 3 / tokens / domains))
    whole = max(1, int(0.1 * plan.trial_tokens * 3 / tokens / domains))
    whole = whole // EVALUATION_BATCH * EVALUATION_BATCH or whole
    reference = copy.deepcopy(model).eval().requires_grad_(False) if has_reference else None
    evaluator = Evaluator(
        task,
        data,
        model,
        reference,
        example_tokens=tokens,
        subset=min(subset, whole),
        whole=whole,
        forgetting_weight=task.forgetting_weight,
    )
    with foreign(f"task {task.name}: evaluating the base model"):
        base = evaluator.evaluate("validation", whole=True)
        part = evaluator.evaluate("validation", whole=False)
    check_base(task, base.metrics)
    facts = RunFacts(
        task=task.name,
        model=source,
        objective_name=task.objective,
        maximize=task.maximize,
        unit=task.unit,
        objective_scale=task.objective_scale,
        forgetting_weight=task.forgetting_weight,
        has_reference=has_reference,
        sequence_length=length,
        epoch_tokens=split_size(data.train) * tokens,
        segment_tokens=plan.segment_tokens,
        trial_tokens=plan.trial_tokens,
        total_parameters=sum(p.numel() for p in model.parameters()),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        lora=hasattr(model, "peft_config"),
        base_metrics=base.metrics,
        base_objective=base.objective,
        base_objective_subset=part.objective,
        base_loss=part.metrics["loss"],
        penalty_cost=PENALTY_COST,
        validation_cost=evaluator.cost(whole=False),
        final_validation_cost=evaluator.cost(whole=True),
        setup_cost=base.cost,
        data_hash=data.hash,
        model_hash=model_hash(model),
    )
    return RealRun(task, model, evaluator, facts)


def _set_objective(task: Task, objective: str | None, forgetting_weight: float | None) -> None:
    if objective is not None:
        name, _, direction = objective.partition(":")
        if direction not in ("", "min", "max"):
            raise WorldError(
                f"objective: must be METRIC, METRIC:min or METRIC:max, got {objective!r}"
            )
        if name != task.objective:
            task.unit = ""
            task.maximize = False
        task.objective = name
        task.maximize = direction == "max" if direction else task.maximize
    if forgetting_weight is not None:
        task.forgetting_weight = forgetting_weight


def _load_space(
    space: str | Mapping[str, Any], baseline: Mapping[str, Value] | None
) -> SearchSpace:
    loaded = SearchSpace.from_dict(space) if isinstance(space, Mapping) else load_space(space)
    check_space(loaded)
    try:
        return loaded.with_defaults(baseline or {})
    except SpaceError as error:
        raise WorldError(f"baseline: {error}") from None


def _check_left_out(**settings: Any) -> None:
    for name, value in settings.items():
        if value is not None:
            raise WorldError(f"{name}: must be left out for the simulated task, but got {value!r}")


def _resolve(
    space: SearchSpace,
    model: torch.nn.Module,
    example_tokens: int,
    epoch_tokens: int,
    segment_tokens: int | None,
    trial_tokens: int | None,
) -> tuple[SearchSpace, Plan]:
    """Resolve the space for the trial's tokens, which follow from its batch sizes."""
    facts = TrainingFacts(
        total_parameters=sum(p.numel() for p in model.parameters()),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        training_tokens=trial_tokens or min(16 * 4096, epoch_tokens),
        sequence_length=example_tokens,
        lora=hasattr(model, "peft_config"),
    )
    resolved = space.resolve(facts)
    return resolved, plan_trial(
        resolved, example_tokens, epoch_tokens, segment_tokens, trial_tokens
    )


def _simulated(
    space: str | Mapping[str, Any] | None,
    view: str,
    validate_segments: bool,
    segment_tokens: int | None,
    trial_tokens: int | None,
    baseline: Mapping[str, Value] | None,
) -> FineTuneEnv:
    searched = _load_space(space or "default", baseline)
    epoch = 10**9
    training = trial_tokens or 16 * 4096
    resolved = searched.resolve(
        TrainingFacts(PARAMETERS, PARAMETERS, training, SEQUENCE_LENGTH, lora=False)
    )
    plan = plan_trial(resolved, SEQUENCE_LENGTH, epoch, segment_tokens, trial_tokens)
    loss = FLOOR + GAIN
    facts = RunFacts(
        task="simulated",
        model="noisy quadratic",
        objective_name="loss",
        maximize=False,
        unit="nats/token",
        objective_scale=1.0,
        forgetting_weight=0.5,
        has_reference=True,
        sequence_length=SEQUENCE_LENGTH,
        epoch_tokens=epoch,
        segment_tokens=plan.segment_tokens,
        trial_tokens=plan.trial_tokens,
        total_parameters=PARAMETERS,
        trainable_parameters=PARAMETERS,
        lora=False,
        base_metrics={"loss": loss, "forgetting": 0.0, "divergence": 0.0},
        base_objective=loss,
        base_objective_subset=loss,
        base_loss=loss,
        penalty_cost=PENALTY_COST,
        validation_cost=0.2 * plan.segment_tokens,
        final_validation_cost=0.08 * plan.trial_tokens,
        setup_cost=0.08 * plan.trial_tokens,
        data_hash="simulated",
        model_hash="simulated",
    )
    run = SimulatedRun(facts)
    return FineTuneEnv(run, resolved, view=view, validate_segments=validate_segments)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        there = "auto, cpu, cuda" if torch.cuda.is_available() else "auto, cpu"
        raise WorldError(f"device: must be one of {there} on this machine, but got {name!r}")
    return torch.device(name)


def _to_device(data: Data, device: torch.device) -> Data:
    def moved(split: Split | None) -> Any:
        return split and {name: tensor.to(device) for name, tensor in split.items()}

    return Data(
        moved(data.train),
        moved(data.validation),
        moved(data.test),
        moved(data.retained_train),
        moved(data.retained_validation),
        moved(data.retained_test),
        data.hash,
    )
