"""Where a model is trained, and in which numbers."""

import warnings
from typing import Any

import torch

from ..errors import WorldError, foreign

LARGE = 20_000_000  # parameters from which bfloat16 pays on a GPU, and threads do on a CPU


def find_device(name: str) -> torch.device:
    """Return a device of this machine: "cpu", "cuda", or "auto" for the first that is there.

    Raises:
        WorldError: there is no GPU, and one was asked for.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise WorldError("device: must be one of auto, cpu on this machine, but got 'cuda'")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def is_large(model: torch.nn.Module) -> bool:
    """Return whether a model is worth more than one thread, or shorter numbers."""
    return sum(p.numel() for p in model.parameters()) >= LARGE


def find_precision(name: str, device: torch.device, model: torch.nn.Module) -> torch.dtype:
    """Return the type of forward passes; "auto" is bfloat16 where it pays."""
    if name == "auto":
        pays = is_large(model) and device.type == "cuda" and torch.cuda.is_bf16_supported()
        name = "bfloat16" if pays else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def casting(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Return what forward passes are made in: they are computed in a type, float32 aside."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def checkpoint_gradients(model: torch.nn.Module) -> None:
    """Let a model compute activations again in the backward pass.

    Raises:
        WorldError: it can't.
    """
    enable: Any = getattr(model, "gradient_checkpointing_enable", None)
    if enable is None:
        raise WorldError(
            f"gradient_checkpointing: needs a model of transformers, got {type(model).__name__}"
        )
    with foreign("gradient_checkpointing: turning it on"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers 5.23 gave it another name
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
