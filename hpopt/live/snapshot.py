"""The best point of a run: trained tensors and the optimizer's state, as they were then."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import ControllerError

DEVICE_SHARE = 0.25  # of the device's free memory, that new tensors of a snapshot may take there
RATES = ("lr", "initial_lr")  # of parameter groups: a controller's own


class Snapshot:
    """A copy of all that an optimizer trains, and of its own state, that can be gone back to.

    Tensors are copied on their device while they fit in `DEVICE_SHARE` of its free memory, else to
    the host's memory, pinned.

    Args:
        model: its persistent buffers belong to it too, such as running statistics.
        optimizer: a torch optimizer, not one of accelerate's around it.
    """

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self._tensors: dict[str, torch.Tensor] = {}
        self._numbers: dict[str, Any] = {}

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    @property
    def place(self) -> str:
        """Where it lies, such as "cuda:0 and cpu"."""
        return " and ".join(sorted({str(tensor.device) for tensor in self._tensors.values()}))

    @torch.no_grad()
    def take(self) -> None:
        """Copy the present state over what was here.

        Raises:
            ControllerError: the optimizer's state has more than tensors and numbers.
        """
        present = dict(self._present())
        old = {name: t for name, t in self._tensors.items() if name in present}
        fits = self._fits(sum(t.nbytes for name, t in present.items() if name not in old))
        self._tensors = {
            name: _over(tensor, old[name]) if name in old else _copied(tensor, fits)
            for name, tensor in present.items()
        }
        self._numbers = {
            "state": {i: _numbers(state, f"state {i}") for i, state in self._states()},
            "groups": [_group(group) for group in self._optimizer.param_groups],
        }

    @torch.no_grad()
    def restore(self) -> None:
        """Put its state back in place, so that wherever else the tensors are known they change."""
        saved = self._tensors
        for name, tensor in self._trained():
            tensor.copy_(saved[name])
        for index, parameter in enumerate(self._parameters()):
            state, prefix = self._optimizer.state[parameter], f"state.{index}."
            tensors = {n.removeprefix(prefix): t for n, t in saved.items() if n.startswith(prefix)}
            numbers = self._numbers["state"].get(str(index), {})
            for name in [name for name in state if name not in {**tensors, **numbers}]:
                del state[name]
            for name, tensor in tensors.items():
                state[name].copy_(tensor)  # what has a state once keeps it
            state.update(numbers)
            if not state:  # optimizers begin where there is none
                del self._optimizer.state[parameter]
        for group, numbers in zip(
            self._optimizer.param_groups, self._numbers["groups"], strict=True
        ):
            group.update(numbers)

    def save(self, path: Path, about: str = "") -> None:
        """Write it as safetensors.

        Args:
            path: of the file.
            about: text that goes with it.
        """
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self._tensors.items()}
        save_file(tensors, path, {"numbers": json.dumps(self._numbers), "about": about})

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            ControllerError: there is no such file, or it is of another model.
        """
        with _opened(path) as file:
            read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            numbers = file.metadata()["numbers"]
        trained = {name: tensor.shape for name, tensor in self._trained()}
        if trained != {n: t.shape for n, t in read.items() if not n.startswith("state.")}:
            raise ControllerError(
                f"{path}: must be of the tensors that are trained, but has others"
            )
        homes = dict(self._present())
        fits = self._fits(sum(tensor.nbytes for tensor in read.values()))
        self._tensors = {
            name: _copied(t.to(homes[name].device) if name in homes and fits else t, fits)
            for name, t in read.items()
        }
        self._numbers = json.loads(numbers)

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        for group in self._optimizer.param_groups:
            yield from group["params"]

    def _trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        for index, parameter in enumerate(self._parameters()):
            yield f"parameter.{index}", parameter
        for path, module in self._model.named_modules():
            for name, buffer in module.named_buffers(recurse=False):
                if name not in module._non_persistent_buffers_set:
                    yield f"buffer.{path}.{name}", buffer

    def _states(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for index, parameter in enumerate(self._parameters()):
            if parameter in self._optimizer.state:
                yield str(index), self._optimizer.state[parameter]

    def _present(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self._trained()
        for index, state in self._states():
            for name, entry in state.items():
                if isinstance(entry, torch.Tensor):
                    yield f"state.{index}.{name}", entry

    def _fits(self, size: int) -> bool:
        """Return whether so many bytes may be taken where the parameters are."""
        device = next(self._parameters()).device
        if device.type != "cuda":
            return device.type == "cpu"  # of others it isn't known what is free
        return size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]


def read_about(path: Path) -> str:
    """Return the text that was written with a snapshot.

    Raises:
        ControllerError: there is no such file.
    """
    with _opened(path) as file:
        return str(file.metadata()["about"])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        raise ControllerError(f"{path}: must be a controller's best point: {error}") from None


def _copied(tensor: torch.Tensor, fits: bool) -> torch.Tensor:
    if fits:
        return tensor.detach().clone()
    pinned = torch.cuda.is_available()
    return torch.empty_like(tensor, device="cpu", pin_memory=pinned).copy_(tensor.detach())


def _over(tensor: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """Copy a tensor over an old copy, which saves memory, or anew where it has changed its form."""
    if (tensor.shape, tensor.dtype) == (old.shape, old.dtype):
        return old.copy_(tensor)
    return _copied(tensor, tensor.device == old.device)


def _numbers(state: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the entries of an optimizer's state that aren't tensors."""
    numbers = {n: entry for n, entry in state.items() if not isinstance(entry, torch.Tensor)}
    for name, entry in numbers.items():
        if not isinstance(entry, int | float | str | None):
            raise ControllerError(
                f"optimizer: must keep tensors and numbers, so that it can be put back, but "
                f"{where} has {name} of {type(entry).__name__}"
            )
    return numbers


def _group(group: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a parameter group, some of which are an optimizer's state.

    Prodigy has its scale there, Schedule-Free the weights of its average.
    """
    return {
        name: entry
        for name, entry in group.items()
        if name not in RATES and isinstance(entry, int | float)
    }
