"""The examples of a task."""

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import torch

from .. import models
from ..errors import WorldError

Split = dict[str, torch.Tensor]  # tensors share their leading dimension: the examples


@dataclass(frozen=True)
class Data:
    """The examples of a task; nobody changes them once they are loaded.

    Attributes:
        train: what optimizer steps draw from.
        validation: what searchers are told about; the first examples alone between segments,
            so that any order that means something must be shuffled away.
        test: what the end of a study is judged by.
        retained_train: examples of what the base model should keep doing, for the penalty on
            divergence; None for a task that retains nothing (then all three are).
        retained_validation: the same, held out: divergence and forgetting are measured on it.
        retained_test: the same, for the end of a study.
        hash: sha256 of all of these; computed where it isn't given.
    """

    train: Split
    validation: Split
    test: Split
    retained_train: Split | None = None
    retained_validation: Split | None = None
    retained_test: Split | None = None
    hash: str = ""

    def __post_init__(self) -> None:
        names = ("train", "validation", "test")
        retained = [name for n in names if getattr(self, name := f"retained_{n}") is not None]
        if len(retained) not in (0, 3):
            raise WorldError(f"retained splits must be all three or none, but got {retained}")
        splits = {name: getattr(self, name) for name in (*names, *retained)}
        for name, split in splits.items():
            _check_split(name, split)
        if not self.hash:
            object.__setattr__(self, "hash", _hash(splits))

    def to(self, device: torch.device) -> "Data":
        """Return the same on a device."""

        def moved(split: Split | None) -> Any:
            return split and {name: tensor.to(device) for name, tensor in split.items()}

        splits = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "hash"}
        return Data(**{name: moved(split) for name, split in splits.items()}, hash=self.hash)


def split_size(split: Split) -> int:
    """Return the number of examples of a split."""
    return len(next(iter(split.values())))


def _check_split(name: str, split: Split) -> None:
    lengths = {key: len(tensor) for key, tensor in split.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise WorldError(f"tensors of {name} must have the same number > 0 of examples: {lengths}")


def _hash(splits: dict[str, Split]) -> str:
    digest = hashlib.sha256()
    for name, split in splits.items():
        for key, tensor in sorted(split.items()):
            digest.update(f"{name}\0{key}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(models.tensor_bytes(tensor))
    return digest.hexdigest()
