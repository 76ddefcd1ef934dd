"""Snapshots on disk: a safetensors file with JSON metadata, written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import WorldError


def write_snapshot(
    path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
) -> None:
    """Write a snapshot. A reader sees the old file or the new one, never a part."""
    part = path.with_suffix(".part")
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        part,
        metadata={"hpopt": json.dumps(meta)},
    )
    os.replace(part, path)


def read_snapshot(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a snapshot.

    Raises:
        WorldError: the file is missing or broken.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["hpopt"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WorldError(f"{path}: must be a snapshot that hpopt wrote, but got: {error}") from None
