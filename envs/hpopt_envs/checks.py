"""What must hold of a search space, a task and a model before a study spends anything on them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from hpopt_search_spaces import ChoiceParameter, Parameter, SearchSpace, Value, nearest_names

from .errors import WorldError, foreign
from .tasks import Data, Split, Task
from .training.optimizers import OPTIMIZERS
from .training.schedules import SHAPES

NEEDED = ("learning_rate", "batch_size")
EXAMPLES = 2  # that a task and a model are tried on


def _number(what: str, legal: Callable[[float], bool]) -> tuple[str, Callable[[Any], bool]]:
    def is_legal(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and legal(value)

    return f"a number {what}", is_legal


def _one_of(names: tuple[str, ...]) -> tuple[str, Callable[[Any], bool]]:
    return f"among {', '.join(names)}", lambda value: value in names


# What training understands, and of each what all values of a space must be.
HYPERPARAMETERS = {
    "learning_rate": _number("above 0", lambda value: value > 0),
    "batch_size": _number("of at least 1", lambda value: value >= 1),
    "divergence_weight": _number("of at least 0", lambda value: value >= 0),
    "weight_decay": _number("of at least 0", lambda value: value >= 0),
    "warmup_fraction": _number("from 0 to below 1", lambda value: 0 <= value < 1),
    "dropout": _number("from 0 to below 1", lambda value: 0 <= value < 1),
    "optimizer": _one_of(OPTIMIZERS),
    "schedule_shape": _one_of(SHAPES),
}


def check_space(space: SearchSpace) -> None:
    """Check that training can use every value of a space.

    Raises:
        WorldError: a needed hyperparameter is missing, one is unknown, or has impossible values.
    """
    missing = [name for name in NEEDED if name not in space]
    if missing:
        raise WorldError(f"space {space.name!r}: must have {' and '.join(missing)}")
    for parameter in space.parameters:
        name = parameter.name
        if name not in HYPERPARAMETERS:
            raise WorldError(
                f"space {space.name!r}: training has no hyperparameter {name!r} "
                f"({nearest_names(name, HYPERPARAMETERS)})"
            )
        what, is_legal = HYPERPARAMETERS[name]
        for value in _extremes(parameter):
            if not is_legal(value):
                raise WorldError(
                    f"space {space.name!r}: every {name} must be {what}, but got {value!r}"
                )


def _extremes(parameter: Parameter) -> tuple[Value, ...]:
    if isinstance(parameter, ChoiceParameter):
        return parameter.choices
    # A range in octaves lies above 0, wherever its default comes to be.
    return () if parameter.octaves is not None else (parameter.low, parameter.high)


def check_reference(space: SearchSpace, task: Task, data: Data) -> None:
    """Check that a task has what it needs to be held to its base model.

    Raises:
        WorldError: it retains data but has no distributions to compare, or the space has a
            divergence weight and the task retains no data.
    """
    if data.retained_train is None:
        if "divergence_weight" in space:
            raise WorldError(
                f"space {space.name!r}: divergence_weight needs a task with retained data, "
                f"but {task.name!r} has none"
            )
    elif type(task).logits is Task.logits:
        raise WorldError(f"task {task.name}: must define logits(), since it retains data")


def check_training(task: Task, model: torch.nn.Module, data: Data) -> None:
    """Try a task and a model on the first examples.

    Raises:
        WorldError: the model has nothing to train, a method of the task failed, or the loss isn't
            a finite scalar that depends on the weights.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise WorldError(f"task {task.name}: its model must have weights that can be trained")
    model.eval()
    batch = _first(data.train)
    with foreign(f"task {task.name}: training on a batch"), torch.random.fork_rng(devices=[]):
        loss = task.loss_sum(model, batch) / task.loss_count(batch)
        scalar = isinstance(loss, torch.Tensor) and loss.shape == () and loss.requires_grad
        if not scalar or not math.isfinite(loss.detach()):
            got = f"shape {tuple(loss.shape)}" if getattr(loss, "shape", ()) else repr(loss)
            raise WorldError(
                f"task {task.name}: loss_sum() / loss_count() must be a finite scalar that "
                f"depends on the weights, but got {got}"
            )
        if data.retained_train is not None:
            logits, mask = task.logits(model, _first(data.retained_train))
            if logits.shape[:-1] != mask.shape:
                raise WorldError(
                    f"task {task.name}: logits() must return logits (n, ..., classes) and a mask "
                    f"(n, ...), but got {tuple(logits.shape)} and {tuple(mask.shape)}"
                )


def check_base(task: Task, metrics: Mapping[str, float]) -> None:
    """Check that the base model's metrics on validation are something to improve.

    Raises:
        WorldError: the objective isn't finite, or the loss isn't, or isn't above 0: what counts
            as an explosion is a multiple of it.
    """
    loss, value = metrics["loss"], metrics[task.objective]
    if not 0 < loss < math.inf or not math.isfinite(value):
        raise WorldError(
            f"task {task.name}: on validation, the base model's loss must be above 0 and its "
            f"{task.objective} finite, but got {loss} and {value}"
        )


def _first(split: Split) -> Split:
    return {name: tensor[:EXAMPLES] for name, tensor in split.items()}
