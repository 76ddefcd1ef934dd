"""Optimizers by name, built for a trial's first segment and kept to its end."""

from collections.abc import Mapping, Sequence

import torch

from hpopt_search_spaces import Value

from ..errors import WorldError

OPTIMIZERS = ("adamw", "adagrad", "sgd")


def build_optimizer(name: str, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimizer whose learning rate and weight decay `set_hyperparameters` sets.

    Args:
        name: "adamw", "adagrad", or "sgd" (with momentum 0.9).
        parameters: what it trains.

    Raises:
        WorldError: the name is not among `OPTIMIZERS`.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, fused=True)
    if name == "adagrad":
        return torch.optim.Adagrad(parameters, lr=0.0)
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=0.0, momentum=0.9)
    raise WorldError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, but got {name!r}")


def set_hyperparameters(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, hyperparameters: Mapping[str, Value]
) -> None:
    """Set weight decay (default 0.01 for adamw, else 0) and, where the space has it, dropout."""
    decay = 0.01 if isinstance(optimizer, torch.optim.AdamW) else 0.0
    for group in optimizer.param_groups:
        group["weight_decay"] = float(hyperparameters.get("weight_decay", decay))
    if "dropout" in hyperparameters:
        rate = float(hyperparameters["dropout"])
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = rate
            elif hasattr(module, "attention_dropout"):  # Llama-like models have no other
                setattr(module, "attention_dropout", rate)  # noqa: B010 (mypy knows no such field)
