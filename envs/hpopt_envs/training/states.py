"""What a trial owns of a training run, and its form in a snapshot."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from hpopt_search_spaces import Value

from .weights import Structure, Tensors


@dataclass
class RunState:
    """What a trial owns; before its first segment, that is its seed.

    Attributes:
        seed: what its draws are keyed by.
        structure: which weights it trains; None before the first segment, as the two below.
        tensors: trained parameters and the model's buffers, by name.
        optimizer: over the parameters that point at them.
        optimizer_name: of that optimizer.
        mark: task tokens at which its last segment was to end.
        training_tokens: task tokens trained on so far.
        cursors: examples drawn so far for the "task" loss and for the "penalty".
        asked: its hyperparameters at its last step.
    """

    seed: int
    structure: Structure | None = None
    tensors: Tensors = field(default_factory=dict)
    optimizer: torch.optim.Optimizer | None = None
    optimizer_name: str = ""
    mark: int = 0
    training_tokens: int = 0
    cursors: dict[str, int] = field(default_factory=lambda: {"task": 0, "penalty": 0})
    asked: dict[str, Value] = field(default_factory=dict)


def snapshot_state(state: RunState) -> tuple[Tensors, dict[str, Any]]:
    """Return copies of everything in a state: tensors on the CPU, and what JSON can carry."""
    tensors = {f"model.{name}": _copied(tensor) for name, tensor in state.tensors.items()}
    numbers: dict[str, dict[str, Any]] = {}  # of optimizers that count in plain numbers
    moments = {} if state.optimizer is None else state.optimizer.state_dict()["state"]
    for index, entries in moments.items():
        for name, entry in entries.items():
            if isinstance(entry, torch.Tensor):
                tensors[f"optimizer.{index}.{name}"] = _copied(entry)
            elif entry is not None:
                numbers.setdefault(str(index), {})[name] = entry
    meta: dict[str, Any] = {
        "seed": state.seed,
        "structure": None if state.structure is None else asdict(state.structure),
        "optimizer_name": state.optimizer_name,
        "optimizer_numbers": numbers,
        "optimizer_groups": _own_numbers(state.optimizer),
        "mark": state.mark,
        "training_tokens": state.training_tokens,
        "cursors": dict(state.cursors),
        "asked": dict(state.asked),
    }
    return tensors, meta


def restore_state(
    tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any], device: torch.device
) -> RunState:
    """Return the state of a snapshot, still without its optimizer."""
    structure = None if meta["structure"] is None else Structure(**meta["structure"])
    return RunState(
        seed=meta["seed"],
        structure=structure,
        tensors={
            name.removeprefix("model."): tensor.to(device, copy=True)
            for name, tensor in tensors.items()
            if name.startswith("model.")
        },
        optimizer_name=meta["optimizer_name"],
        mark=meta["mark"],
        training_tokens=meta["training_tokens"],
        cursors=dict(meta["cursors"]),
        asked=dict(meta["asked"]),
    )


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, torch.Tensor],
    meta: Mapping[str, Any],
) -> None:
    """Put a snapshot's moments into a new optimizer over the same parameters."""
    moments: dict[int, dict[str, Any]] = {
        int(index): dict(numbers) for index, numbers in meta["optimizer_numbers"].items()
    }
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".", 2)
            moments.setdefault(int(index), {})[moment] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    # Snapshots before 0.3 have none.
    for group, own in zip(groups, meta.get("optimizer_groups", ()), strict=False):
        group.update(own)
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _own_numbers(optimizer: torch.optim.Optimizer | None) -> list[dict[str, Any]]:
    """Return the numbers of an optimizer's groups that aren't what it was made with.

    Prodigy has its scale there, Schedule-Free the weights of its average.
    """
    groups = [] if optimizer is None else optimizer.param_groups
    made_with = {} if optimizer is None else optimizer.defaults
    return [
        {
            name: number
            for name, number in group.items()
            if isinstance(number, int | float) and number != made_with.get(name)
        }
        for group in groups
    ]


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().clone()
