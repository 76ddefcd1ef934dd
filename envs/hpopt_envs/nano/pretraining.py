"""Base models: trained on the text that is to be retained, or not at all."""

from collections.abc import Sequence

import numpy as np
import torch

from .examples import Stacked
from .gradients import gradient
from .models import Architecture
from .optimizers import Moments, Optimizers
from .sources import Random

PREDICTIONS = 64  # a step
RATE, SLOPE = 0.84, -0.45  # of Adam: RATE · parameters^SLOPE


def pretrain(
    architecture: Architecture,
    weights: torch.Tensor,
    data: Stacked,
    steps: Sequence[int],
    random: Sequence[Random],
) -> torch.Tensor:
    """Train K models to predict their data, each for so many steps of Adam with linear decay.

    In 64 bits: what a task's base model is, to 32 bits, must not depend on what is trained beside
    it, though the order of sums does.

    Args:
        architecture: of the models.
        weights: untrained, shape (K, parameters).
        data: text that is continued.
        steps: of each model.
        random: of each model's batches.

    Returns:
        Weights of the same shape, 32 bits.
    """
    order = sorted(range(len(steps)), key=lambda k: -steps[k])
    ordered = Stacked(data.windows[order], data.labels[order], tuple(data.sizes[k] for k in order))
    size = PREDICTIONS // data.labels.shape[2]
    draws = [random[k].integers(data.sizes[k], size=(steps[k], size)) for k in order]
    theta = weights[order].double()
    moments, no_decay = Moments.zero(theta), torch.zeros(1, 1)
    peak = RATE * architecture.parameters**SLOPE
    for step in range(max(steps)):
        active = sum(count > step for count in steps)  # the first ones
        index = torch.from_numpy(np.stack([rows[step] for rows in draws[:active]]))
        _, _, change = gradient(architecture, theta[:active], *ordered.first(active).rows(index))
        left = [1 - step / steps[k] for k in order[:active]]
        Optimizers(["adam"] * active, no_decay).step(
            theta[:active],
            change,
            moments.of(slice(active)),
            peak * torch.tensor(left, dtype=theta.dtype),
            torch.ones(active, dtype=torch.bool),
        )
    trained = torch.empty_like(theta)
    trained[order] = theta
    return trained.float()
