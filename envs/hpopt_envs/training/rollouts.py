"""What a task makes of examples before its loss and its metrics: samples of the model, say."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from ..tasks.base import Task
from ..tasks.data import Split, split_size
from ..tasks.micro_batches import MicroBatches, parts
from ..tasks.roles import Rollouts
from .weights import Weights


@torch.no_grad()
def roll_out(
    task: Task,
    weights: Weights,
    batch: Split,
    memory: MicroBatches,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Split:
    """Roll a batch out in parts that fit into memory; the model keeps its mode.

    Raises:
        torch.OutOfMemoryError: not even one example fits.
    """
    if not isinstance(task, Rollouts):
        return batch
    model = weights.model
    was_training = model.training

    def work(size: int) -> list[Split]:
        made = []
        for part in parts(batch, size):
            with autocast():
                made.append(task.rollout(model, part, weights.as_base))
        return made

    model.eval()
    try:
        longest = int(task.example_tokens(batch).max()) * task.samples_per_example
        made = memory.run(split_size(batch), longest, work)
    finally:
        model.train(was_training)
    return {name: torch.cat([part[name] for part in made]) for name in made[0]}
