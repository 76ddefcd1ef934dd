"""Optimizers by name, built for a trial's first segment and kept to its end."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from hpopt_search_spaces import Value

from ..errors import WorldError, foreign
from ..references import import_attribute, is_reference

Builder = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]

# Plain `sgd` with batch_size = "all" is gradient descent. The learning rate is set at every step.
_BUILT_IN: dict[str, Builder] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.0, momentum=0.9),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, lr=0.0, momentum=0.9, nesterov=True),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.0),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.0),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.0, fused=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.0, fused=True),
}
OPTIMIZERS = tuple(_BUILT_IN)
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
    if name in _BUILT_IN:
        return _BUILT_IN[name](parameters)
    made: Any = import_attribute(name)
    with foreign(f"optimizer: {name}(parameters, lr=...)"):
        optimizer: torch.optim.Optimizer = made(parameters, lr=1e-3)  # some refuse 0
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise WorldError(
            f"optimizer: {name} must make a torch.optim.Optimizer, got {optimizer!r:.100}"
        )
    return optimizer


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
