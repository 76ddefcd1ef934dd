"""A real training run from its settings: everything is loaded, completed and checked here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from hpopt_search_spaces import ChoiceParameter, SearchSpace, TrainingFacts, Value

from ..errors import WorldError, foreign
from ..models import model_hash
from ..settings import EnvironmentSettings
from ..tasks import Data, Task, load_task
from ..tasks.base import BASE_SEED
from ..tasks.checks import check_embeddings, check_training
from ..tasks.objective import divergence_limit, set_objective
from ..tasks.preview import space_of
from ..tasks.roles import (
    ParametricLoss,
    Reference,
    Rollouts,
    has_reference,
    samples_per_example,
    weighs_divergence,
)
from .baseline import check_baseline, note, outside
from .facts import Parts, measured
from .hyperparameters import check_hyperparameters, extremes
from .machine import casting, checkpoint_gradients, find_device, find_precision, is_large
from .optimizers import build_optimizer, with_shape
from .plan import Lengths, batch_sizes, plan_trial
from .real import RealRun
from .surprise import retained_surprise
from .threads import using_threads
from .weights import Structure, Weights


def real_run(settings: EnvironmentSettings) -> tuple[RealRun, SearchSpace]:
    """Load a task and its model, and evaluate the base model.

    Returns:
        The run, and the space that is asked for, or the task's own, resolved.

    Raises:
        SpaceError, WorldError: one line, where something can't be had or doesn't fit.
    """
    device = find_device(settings.device)
    task = load_task(settings.task, settings.data)
    set_objective(task, settings.objective, settings.forgetting_weight)
    limit = divergence_limit(settings.max_divergence, task)
    loss = task if isinstance(task, ParametricLoss) else None
    space, held = _searched(task, loss, settings)
    if isinstance(task, Reference):
        asked = (*space.names, *held, *(settings.baseline or ()))
        penalized = "divergence_weight" in asked and not weighs_divergence(task)
        task.retains = penalized or task.forgetting_weight > 0
    source = settings.model or task.default_model
    loaded, model = _load(task, source, settings.sequence_length, device)
    if settings.gradient_checkpointing:
        checkpoint_gradients(model)
    with using_threads(settings.threads if is_large(model) else 1):
        precision = find_precision(settings.precision, device, model)
        with casting(device, precision if task.prepares_reference else torch.float32):
            data, setup_cost = _prepare(task, model, loaded)
        if settings.forgetting_weight and data.retained_validation is None:
            raise WorldError(
                f"forgetting_weight: must be left out, since task {task.name!r} retains nothing "
                "that could be forgotten"
            )
        base_hash = model_hash(model)
        lengths = _lengths(task, data)
        weights = _weights(task, model, space, held)
        drawn = loaded.retained_validation is None and data.retained_validation is not None
        surprise, look_cost = 1.0, 0.0  # on text that the model drew itself
        if not drawn:
            surprise, look_cost = _surprise(space, task, weights.model, data, precision)
        known = _training_facts(held, task, weights, lengths, settings.trial_tokens, surprise)
        clipped, resolved = space.clipped(known), space.resolve(known)
        space = settings.displaced(resolved)
        sizes = batch_sizes(space, held, lengths.examples)
        baseline = dict(settings.baseline or {})
        beside = outside(space, baseline)
        check_baseline(beside, {**held, **space.defaults()}, loss, sizes)
        if baseline.get("divergence_weight") and not has_reference(task):
            raise WorldError("baseline: divergence_weight needs a task with a reference")
        sizes += [int(beside["batch_size"])] if "batch_size" in beside else []
        _check_samples(sizes, samples_per_example(task))
        parts = Parts(
            task=task,
            source=source,
            model_hash=base_hash,
            data=data,
            weights=weights,
            space=space,
            held=held,
            lengths=lengths,
            plan=plan_trial(sizes, lengths, settings.segment_tokens, settings.trial_tokens),
            precision=precision,
            max_divergence=limit,
            setup_cost=setup_cost + look_cost,
            baseline=baseline,
            notes=(*_notes(resolved, clipped), *note(beside, space)),
        )
        return measured(parts), space


def _searched(
    task: Task, loss: ParametricLoss | None, settings: EnvironmentSettings
) -> tuple[SearchSpace, dict[str, Value]]:
    """Return the space, and what every trial holds beside it; both checked."""
    space = space_of(task, settings)
    held = settings.held(space, task.fixed)
    check_hyperparameters(space, held, loss, reference=isinstance(task, Reference))
    return space, with_shape(held, space)


def _load(
    task: Task, source: str, sequence_length: int | None, device: torch.device
) -> tuple[Data, torch.nn.Module]:
    """Return data and model, on the device."""
    with foreign(f"task {task.name}: load_data()"):
        data = task.load_data(source, sequence_length).to(device)
    with foreign(f"task {task.name}: load_model({source!r})"):
        model = task.load_model(source, BASE_SEED).to(device)
    check_embeddings(model, data)
    return data, model


def _prepare(task: Task, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
    """Return complete data, and what that cost; check that task and model can be trained."""
    with foreign(f"task {task.name}: prepare()"):
        data, cost = task.prepare(model, data)
    check_training(task, model, data)
    return data, cost


def _lengths(task: Task, data: Data) -> Lengths:
    """Return those of the training sequences; those of samples aren't known beforehand."""
    lengths = Lengths.of(task.example_tokens(data.train).tolist())
    if not isinstance(task, Rollouts):
        return lengths
    samples = task.samples_per_example
    total, sequences = lengths.total * samples, lengths.examples * samples
    return replace(lengths, equal=False, total=total, examples=sequences)


def _weights(
    task: Task, model: torch.nn.Module, space: SearchSpace, held: Mapping[str, Value]
) -> Weights:
    """Return the model's, in the default's structure; refuse now what trials could not be."""
    weights = Weights(model, task.adapter_type)
    for structure in _structures(space, held):
        weights.use_base(structure)
    for name in _optimizers(space, held):
        build_optimizer(name, weights.parameters)
    return weights


def _structures(space: SearchSpace, held: Mapping[str, Value]) -> list[Structure]:
    """Return what trials may train, by frozen layers and by targets; the default's is the last.

    Static defaults are in numbers even before the space is resolved.
    """
    default = {p.name: p.default for p in space.parameters if not p.dynamic} | dict(held)
    others: list[dict[str, Value]] = []
    if "frozen_layers" in space:
        others.append({"frozen_layers": extremes(space["frozen_layers"])[-1]})
    if "lora_targets" in space:
        others += [{"lora_targets": targets} for targets in extremes(space["lora_targets"])]
    return [Structure.of(default | other) for other in (*others, {})]


def _optimizers(space: SearchSpace, held: Mapping[str, Value]) -> list[str]:
    """Return the names of those that trials may have."""
    if "optimizer" not in space:
        return [str(held.get("optimizer", "adamw"))]
    parameter = space["optimizer"]
    return [str(n) for n in parameter.choices] if isinstance(parameter, ChoiceParameter) else []


def _training_facts(
    held: Mapping[str, Value],
    task: Task,
    weights: Weights,
    lengths: Lengths,
    trial_tokens: int | None,
    surprise: float,
) -> TrainingFacts:
    """Return what defaults follow from, before the trial's tokens follow from its batch sizes."""
    return TrainingFacts(
        total_parameters=weights.total_count,
        trainable_parameters=weights.trained_count,
        training_tokens=trial_tokens or min(16 * 4096, lengths.total),
        sequence_length=lengths.mean,
        lora=weights.has_adapter,
        optimizer=str(held.get("optimizer", "adamw")),
        task_factor=task.rate_factor,
        forgetting_weight=task.forgetting_weight / task.objective_scale,
        retained_surprise=surprise,
    )


def _surprise(
    space: SearchSpace, task: Task, model: torch.nn.Module, data: Data, precision: torch.dtype
) -> tuple[float, float]:
    """Return what `retained_surprise` finds, where a default depends on it."""
    autos = {p.name for p in space.parameters if p.default == "auto"}
    if autos.isdisjoint(("divergence_weight", "final_divergence_weight")):
        return 1.0, 0.0
    with foreign(f"task {task.name}: evaluating the base model"):
        return retained_surprise(task, model, data, precision)


def _notes(space: SearchSpace, clipped: Mapping[str, float]) -> tuple[str, ...]:
    """Return sentences on defaults that a range cut off."""
    return tuple(
        f"The default of {name} would be {rule:.2g}, but its range ends at "
        f"{space.defaults()[name]:g}."
        for name, rule in clipped.items()
    )


def _check_samples(batch_sizes: Sequence[int], samples: int) -> None:
    for size in batch_sizes:
        if size % samples:
            raise WorldError(
                f"batch_size: must be a multiple of samples_per_prompt={samples}, but the space "
                f"has {size}"
            )
