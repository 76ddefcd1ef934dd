"""A look at the base model before defaults are set: whether it knows what it is to retain."""

import math

import torch

from ..tasks.base import Task
from ..tasks.data import Data, Split, split_size
from ..tasks.micro_batches import parts
from ..tasks.roles import Reference, Rollouts
from .machine import casting

TOKENS = 4096  # that are looked at, about
LEAST_EXAMPLES = 8
LEAST_ENTROPY = 1.0  # nats: below, a small loss is no surprise, however small the entropy


@torch.no_grad()
def retained_surprise(
    task: Task, model: torch.nn.Module, data: Data, precision: torch.dtype
) -> tuple[float, float]:
    """Return the base model's loss on retained data, relative to the entropy it has there.

    That is 1 where it is as good there as it believes.

    Args:
        task: of the data.
        model: the base model, on the data's device; its mode is the caller's business afterwards.
        data: complete.
        precision: of the forward passes.

    Returns:
        The ratio, infinity where nothing is retained: what the model is then held to the base on is
        what it is to learn; and the token-equivalents spent.
    """
    retained = data.retained_validation
    if retained is None or not isinstance(task, Reference) or isinstance(task, Rollouts):
        return math.inf, 0.0
    looked_at = _spread(task, retained)
    device = next(model.parameters()).device
    loss = entropy = 0.0
    units = counted = 0
    model.eval()
    for example in parts(looked_at, 1):
        with casting(device, precision):
            loss += float(task.loss_sum(model, example))
            logits, mask = task.logits(model, example)
        entropy += float(torch.special.entr(logits[mask].float().softmax(-1)).sum())
        units += task.loss_count(example)
        counted += task.logits_count(example)
    passes = 2  # one for the loss, one for the distributions
    cost = passes * float(task.example_tokens(looked_at).sum()) / 3
    return (loss / units) / max(entropy / counted, LEAST_ENTROPY), cost


def _spread(task: Task, split: Split) -> Split:
    """Return examples from all over a split."""
    size = split_size(split)
    longest = int(task.example_tokens(split).max())
    step = max(1, size // max(LEAST_EXAMPLES, TOKENS // longest))
    return {name: tensor[::step] for name, tensor in split.items()}
