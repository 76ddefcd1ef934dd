"""Building environments from names and numbers: what `gymnasium.make` and workers call."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from hpopt_search_spaces import (
    ChoiceParameter,
    SearchSpace,
    SpaceError,
    TrainingFacts,
    Value,
    load_space,
)

from .episode.environment import FineTuneEnv
from .errors import WorldError, foreign
from .models import model_hash
from .settings import EnvironmentSettings
from .stand_ins.finished_runs import PREFIX, read_runs
from .stand_ins.simulated import simulated_run
from .stand_ins.tabulated import space_of, tabulated_run
from .tasks import Data, Task, load_task
from .tasks.base import compares, has_reference
from .tasks.checks import check_training
from .tasks.objective import divergence_limit, set_objective
from .training.building import real_run
from .training.hyperparameters import check_hyperparameters, extremes
from .training.optimizers import build_optimizer
from .training.plan import Lengths, batch_sizes, plan_trial
from .training.rollouts import rolls_out
from .training.threads import using_threads
from .training.weights import Structure, Weights

BASE_SEED = 0  # a base model's new layers are the same in every study, whatever its seed
LARGE = 20_000_000  # parameters from which bfloat16 pays on a GPU, and threads do on a CPU
PRECISIONS = ("auto", "float32", "bfloat16")


def make_env(
    task: str = EnvironmentSettings.task,
    model: str | None = None,
    space: str | Mapping[str, Any] | None = None,
    **settings: Any,
) -> FineTuneEnv:
    """Build the environment of a task.

    Args:
        task: "simulated", what `hpopt_envs.stand_ins.finished_runs.read_runs` takes, or what
            `hpopt_envs.tasks.load_task` does.
        model: a Hugging Face id, a local path or "module:factory"; the task's own by default.
        space: a name, a TOML file, or `SearchSpace.to_dict()`; the task's own by default.
        settings: the other fields of `hpopt_envs.EnvironmentSettings`, which explains them.

    Raises:
        SpaceError, WorldError: one line, where something can't be had or doesn't fit.
    """
    asked = EnvironmentSettings.of({"task": task, "model": model, "space": space, **settings})
    torch.set_num_threads(1)
    where = _device(asked.device)
    if task == "simulated":
        _check_left_out(
            "the simulated task",
            model=asked.model,
            **asked.data.given,
            sequence_length=asked.sequence_length,
            objective=asked.objective,
            forgetting_weight=asked.forgetting_weight,
            fix=asked.fixed,
        )
        searched = _load_space(asked.space or "default", asked.baseline)
        check_hyperparameters(searched, {})
        limit = divergence_limit(asked.max_divergence, None)
        run, resolved = simulated_run(searched, asked.segment_tokens, asked.trial_tokens, limit)
        return FineTuneEnv(
            run, resolved, view=asked.view, validate_segments=asked.validate_segments
        )
    if task.startswith(PREFIX):
        _check_left_out(
            "a table of finished runs",
            model=asked.model,
            **asked.data.given,
            sequence_length=asked.sequence_length,
            segment_tokens=asked.segment_tokens,
            trial_tokens=asked.trial_tokens,
            forgetting_weight=asked.forgetting_weight,
            max_divergence=asked.max_divergence,
            fix=asked.fixed,
        )
        runs = read_runs(task, asked.objective)
        searched = _load_space(asked.space or space_of(runs).to_dict(), asked.baseline)
        table, resolved = tabulated_run(runs, searched)
        return FineTuneEnv(
            table, resolved, view=asked.view, validate_segments=asked.validate_segments
        )
    loaded = load_task(task, asked.data)
    set_objective(loaded, asked.objective, asked.forgetting_weight)
    limit = divergence_limit(asked.max_divergence, loaded)
    fitting = "default" if has_reference(loaded) else "plain"
    searched = _load_space(asked.space or loaded.default_space or fitting, asked.baseline)
    unsaid = {name: v for name, v in loaded.fixed.items() if name not in searched}
    held = {**unsaid, **(asked.fixed or {})}
    check_hyperparameters(
        searched,
        held,
        own=loaded.hyperparameters,
        rules=loaded.rules,
        needed=loaded.needed,
        reference=compares(loaded),
    )
    source = asked.model or loaded.default_model
    examples, net = _load(loaded, source, asked.sequence_length, where)
    if asked.gradient_checkpointing:
        _checkpoint_gradients(net)
    large = sum(p.numel() for p in net.parameters()) >= LARGE
    with using_threads(asked.threads if large else 1):
        examples, setup_cost = _prepare(loaded, net, examples)
        base_hash = model_hash(net)
        lengths = _lengths(loaded, examples)
        weights = Weights(net, loaded.adapter_type)
        for structure in _structures(searched, held):  # so that what can't be is refused now
            weights.use_base(structure)
        for name in _optimizers(searched, held):
            build_optimizer(name, weights.parameters)  # so that what can't be made is refused now
        resolved = _resolve(searched, held, loaded, weights, lengths, asked.trial_tokens)
        sizes = batch_sizes(resolved, held, lengths.examples)
        _check_samples(sizes, loaded.samples_per_example)
        real = real_run(
            loaded,
            weights,
            examples,
            lengths,
            plan_trial(sizes, lengths, asked.segment_tokens, asked.trial_tokens),
            precision=_precision(asked.precision, where, large),
            model=source,
            model_hash=base_hash,
            setup_cost=setup_cost,
            penalized="divergence_weight" in (*searched.names, *held)
            and "divergence_weight" not in loaded.hyperparameters,
            defaults={**held, **resolved.defaults()},
            fixed=held,
            max_divergence=limit,
        )
    return FineTuneEnv(real, resolved, view=asked.view, validate_segments=asked.validate_segments)


def _load(
    task: Task, source: str, sequence_length: int | None, device: torch.device
) -> tuple[Data, torch.nn.Module]:
    """Return data and model, on the device."""
    with foreign(f"task {task.name}: load_data()"):
        data = task.load_data(source, sequence_length).to(device)
    with foreign(f"task {task.name}: load_model({source!r})"):
        model = task.load_model(source, BASE_SEED).to(device)
    return data, model


def _prepare(task: Task, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
    """Return complete data, and what that cost; check that task and model can be trained."""
    with foreign(f"task {task.name}: prepare()"):
        data, cost = task.prepare(model, data)
    check_training(task, model, data)
    return data, cost


def _lengths(task: Task, data: Data) -> Lengths:
    """Lengths of the training sequences; those of samples aren't known beforehand."""
    lengths = Lengths.of(task.example_tokens(data.train).tolist())
    if not rolls_out(task):
        return lengths
    samples = task.samples_per_example
    total, sequences = lengths.total * samples, lengths.examples * samples
    return replace(lengths, equal=False, total=total, examples=sequences)


def _check_samples(batch_sizes: Sequence[int], samples: int) -> None:
    for size in batch_sizes:
        if size % samples:
            raise WorldError(
                f"batch_size: must be a multiple of samples_per_prompt={samples}, but the space "
                f"has {size}"
            )


def _load_space(
    space: str | Mapping[str, Any], baseline: Mapping[str, Value] | None
) -> SearchSpace:
    loaded = SearchSpace.from_dict(space) if isinstance(space, Mapping) else load_space(space)
    try:
        return loaded.with_defaults(baseline or {})
    except SpaceError as error:
        raise WorldError(f"baseline: {error}") from None


def _structures(space: SearchSpace, fixed: Mapping[str, Value]) -> list[Structure]:
    """What trials may train, by frozen layers and by targets; the default's structure is the last.

    Static defaults are in numbers even before the space is resolved.
    """
    default = {p.name: p.default for p in space.parameters if not p.dynamic} | dict(fixed)
    others: list[dict[str, Value]] = []
    if "frozen_layers" in space:
        others.append({"frozen_layers": extremes(space["frozen_layers"])[-1]})
    if "lora_targets" in space:
        others += [{"lora_targets": targets} for targets in extremes(space["lora_targets"])]
    return [Structure.of(default | other) for other in (*others, {})]


def _optimizers(space: SearchSpace, fixed: Mapping[str, Value]) -> list[str]:
    """Names of those that trials may have."""
    if "optimizer" not in space:
        return [str(fixed.get("optimizer", "adamw"))]
    parameter = space["optimizer"]
    return [str(n) for n in parameter.choices] if isinstance(parameter, ChoiceParameter) else []


def _check_left_out(what: str, /, **settings: Any) -> None:
    for name, value in settings.items():
        if value is not None:
            raise WorldError(f"{name}: must be left out for {what}, but got {value!r}")


def _resolve(
    space: SearchSpace,
    fixed: Mapping[str, Value],
    task: Task,
    weights: Weights,
    lengths: Lengths,
    trial_tokens: int | None,
) -> SearchSpace:
    """Resolve the space before the trial's tokens follow from its batch sizes."""
    return space.resolve(
        TrainingFacts(
            total_parameters=weights.total_count,
            trainable_parameters=weights.trained_count,
            training_tokens=trial_tokens or min(16 * 4096, lengths.total),
            sequence_length=lengths.mean,
            lora=weights.has_adapter,
            optimizer=str(fixed.get("optimizer", "adamw")),
            task_factor=task.rate_factor,
        )
    )


def _checkpoint_gradients(model: torch.nn.Module) -> None:
    enable: Any = getattr(model, "gradient_checkpointing_enable", None)
    if enable is None:
        raise WorldError(
            f"gradient_checkpointing: needs a model of transformers, got {type(model).__name__}"
        )
    with foreign("gradient_checkpointing: turning it on"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers 5.23 gave it another name
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        there = "auto, cpu, cuda" if torch.cuda.is_available() else "auto, cpu"
        raise WorldError(f"device: must be one of {there} on this machine, but got {name!r}")
    return torch.device(name)


def _precision(name: str, device: torch.device, large: bool) -> torch.dtype:
    if name not in PRECISIONS:
        raise WorldError(f"precision: must be one of {', '.join(PRECISIONS)}, but got {name!r}")
    if name == "auto":
        pays = large and device.type == "cuda" and torch.cuda.is_bf16_supported()
        name = "bfloat16" if pays else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32
