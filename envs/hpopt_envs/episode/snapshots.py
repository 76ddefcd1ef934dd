"""Snapshots on disk: a safetensors file with JSON metadata, written whole or not at all.

The metadata has a checksum of the rest; snapshots before 0.3 have none.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import WorldError


class Unsaved(WorldError):
    """A snapshot can't be written."""


def write_snapshot(
    path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
) -> None:
    """Write a snapshot. A reader sees the old file or the new one, never a part.

    Raises:
        Unsaved: the disk is full, or gone.
    """
    part, text = path.with_suffix(".part"), json.dumps(meta)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        part.unlink(missing_ok=True)  # a link's target isn't ours to write
        save_file(whole, part, metadata={"hpopt": text, "sha256": _digest(whole, text)})
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink()
        raise Unsaved(f"the snapshot {path} can't be written: {error}") from error


def read_snapshot(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a snapshot.

    Raises:
        WorldError: the file is missing or broken.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        has_checksum = set(told) != {"hpopt"}
        if has_checksum and told["sha256"] != _digest(tensors, told["hpopt"]):
            raise ValueError("its checksum doesn't match")
        return tensors, json.loads(told["hpopt"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WorldError(f"{path}: must be a snapshot that hpopt wrote, but got: {error}") from None


def _digest(tensors: Mapping[str, torch.Tensor], meta: str) -> str:
    """Return the sha256 of names, types, shapes and bytes, and of the metadata's text."""
    digest = hashlib.sha256(meta.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
