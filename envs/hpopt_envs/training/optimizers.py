"""Optimizers by name, built for a trial's first segment and kept to its end."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import torch

from hpopt_search_spaces import ChoiceParameter, SearchSpace, Value

from ..errors import WorldError, foreign
from ..references import import_attribute, is_reference

Builder = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]


def _installed(
    package: str, name: str, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Return an optimizer of a package that hpopt can do without, at that package's defaults."""
    try:
        made: Any = getattr(import_module(package), name)
    except ImportError:
        raise WorldError(
            f"optimizer: must have its package {package}, which isn't installed (pip install "
            f"{package}, or hpopt's extra optimizers)"
        ) from None
    optimizer: torch.optim.Optimizer = made(parameters)
    return optimizer


# Plain `sgd` with batch_size = "all" is gradient descent. The learning rate is set at every step.
_BUILT_IN: dict[str, Builder] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.0, momentum=0.9),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, lr=0.0, momentum=0.9, nesterov=True),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.0),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.0),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.0, fused=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.0, fused=True),
    "prodigy": partial(_installed, "prodigyopt", "Prodigy"),
    "schedule-free": partial(_installed, "schedulefree", "AdamWScheduleFree"),
}
OPTIMIZERS = tuple(_BUILT_IN)
# What their authors warn of, where neither a space nor `--fix` says otherwise: a warm-up makes
# Prodigy overestimate its scale, and Schedule-Free averages instead of decaying.
_SHAPES: dict[str, dict[str, Value]] = {
    "prodigy": {"warmup_fraction": 0.0},
    "schedule-free": {"schedule_shape": "constant"},
}
ADAMW_WEIGHT_DECAY = 0.01  # where it isn't given; others have none
MAX_GRADIENT_NORM = 1.0  # where it isn't given


def is_optimizer(name: Any) -> bool:
    """Return whether it names a built-in optimizer, or has the form "module:Class"."""
    return isinstance(name, str) and (name in OPTIMIZERS or is_reference(name))


def build_optimizer(name: str, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimizer whose learning rate and weight decay are set later.

    Args:
        name: one of `OPTIMIZERS`, or "module:Class", a subclass of `torch.optim.Optimizer` that
            is called with parameters and `lr`.
        parameters: what it trains.

    Raises:
        WorldError: there is no such class, or it can't be made.
    """
    build = _BUILT_IN.get(name, partial(_imported, name))
    optimizer: Any = build(parameters)
    if _averages(optimizer):
        optimizer.train()
    made: torch.optim.Optimizer = optimizer
    return made


def _imported(name: str, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    made: Any = import_attribute(name)
    with foreign(f"optimizer: {name}(parameters, lr=...)"):
        optimizer: torch.optim.Optimizer = made(parameters, lr=1e-3)  # some refuse 0
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise WorldError(
            f"optimizer: {name} must make a torch.optim.Optimizer, got {optimizer!r:.100}"
        )
    return optimizer


def _averages(optimizer: Any) -> bool:
    """Return whether it trains at one point and is measured at another, as Schedule-Free ones."""
    return callable(getattr(optimizer, "train", None)) and callable(
        getattr(optimizer, "eval", None)
    )


@contextmanager
def as_measured(optimizer: Any) -> Iterator[None]:
    """Have the trained weights where the optimizer wants them measured and saved.

    That is where they are, but for Schedule-Free ones, whose average it is. Going there and back
    rounds; so it is done on copies, and training goes on from the very bits that it was at.

    Args:
        optimizer: a `torch.optim.Optimizer`, or None before the first step.
    """
    if not _averages(optimizer):
        yield
        return
    trained = [(p, p.data) for group in optimizer.param_groups for p in group["params"]]
    for parameter, data in trained:
        parameter.data = data.clone()
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        for parameter, data in trained:
            parameter.data = data


def with_shape(held: Mapping[str, Value], space: SearchSpace) -> dict[str, Value]:
    """Return what every trial holds, with what the authors of its optimizer say of the schedule.

    Args:
        held: values beside the space.
        space: what it searches is left to it.
    """
    advised = _SHAPES.get(str(held.get("optimizer")), {})
    return {n: v for n, v in advised.items() if n not in space} | dict(held)


def advised(name: str) -> str:
    """Return what `with_shape` gives a hyperparameter, for people."""
    said = {optimizer: shape[name] for optimizer, shape in _SHAPES.items() if name in shape}
    return ", ".join(
        f"{value:g} for `{optimizer}`"
        if isinstance(value, float)
        else f"`{value}` for `{optimizer}`"
        for optimizer, value in said.items()
    )


def check_shapes(space: SearchSpace, names: Iterable[str]) -> None:
    """Check that a space with Schedule-Free among its optimizers says what becomes of the rate.

    Args:
        space: that may search the optimizer.
        names: of all hyperparameters, those that are held too.

    Raises:
        WorldError: it doesn't, so that Schedule-Free would decay like others.
    """
    if "optimizer" not in space or "schedule_shape" in names:
        return
    parameter = space["optimizer"]
    if isinstance(parameter, ChoiceParameter) and "schedule-free" in parameter.choices:
        raise WorldError(
            f"space {space.name!r}: schedule-free among its optimizers must go with "
            "schedule_shape, searched or fixed, since it wants none of the decay that others have"
        )


def set_weight_decay(
    optimizer: torch.optim.Optimizer, hyperparameters: Mapping[str, Value]
) -> None:
    """Set it where it is given, or for AdamW; others keep what they were made with."""
    if "weight_decay" in hyperparameters:
        decay = float(hyperparameters["weight_decay"])
    elif isinstance(optimizer, torch.optim.AdamW):
        decay = ADAMW_WEIGHT_DECAY
    else:
        return
    for group in optimizer.param_groups:
        group["weight_decay"] = decay


def set_dropout(
    model: torch.nn.Module, rate: float | None, own: dict[torch.nn.Module, float]
) -> None:
    """Set the rate of every dropout layer, and of attention that has one of its own.

    Args:
        model: that has them.
        rate: None for the model's own.
        own: where these are remembered, by layer.
    """
    for module in model.modules():
        # Llama-like models have no dropout layers.
        name = "p" if isinstance(module, torch.nn.Dropout) else "attention_dropout"
        before = getattr(module, name, None)
        if isinstance(before, int | float):
            own.setdefault(module, float(before))
            setattr(module, name, own[module] if rate is None else rate)
