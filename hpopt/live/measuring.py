"""How a model is measured while it is trained, in one process or several."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from hpopt_envs.training.optimizers import as_measured


@contextmanager
def measuring(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Have a model in evaluation mode, without gradients, where its optimizer wants it measured."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad(), as_measured(optimizer):
            yield
    finally:
        model.train(was)


def from_first(number: float) -> float:
    """Return the first process's number, so that all of them decide alike, to the bit."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return number
    shared = [number]
    distributed.broadcast_object_list(shared, src=0)
    return shared[0]
