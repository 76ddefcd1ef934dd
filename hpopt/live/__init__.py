"""Controllers inside other people's training: transformers' `Trainer`, TRL's, or a plain loop."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loop import Loop
    from .trainer import Controller

__all__ = ["Controller", "Loop"]

_LAZY = {"Controller": ".trainer", "Loop": ".loop"}  # transformers takes seconds; loops needn't it


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name], __name__), name)
