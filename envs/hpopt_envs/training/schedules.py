"""Shapes of the learning rate over a trial: what its segment's learning rate is multiplied by."""

import math

SHAPES = ("constant", "linear", "cosine")


def shape_factor(position: float, shape: str, warmup_fraction: float) -> float:
    """Return the factor in [0, 1] at a position of the trial.

    Linear warm-up from 0 over `warmup_fraction`, then constant, or down to 0 at the end along a
    line or half a cosine.

    Args:
        position: share of the trial's tokens that were trained before this step, in [0, 1).
        shape: one of `SHAPES`.
        warmup_fraction: share of the trial, in [0, 1).
    """
    if position < warmup_fraction:
        return position / warmup_fraction
    if shape == "constant":
        return 1.0
    left = (1.0 - position) / (1.0 - warmup_fraction)
    return left if shape == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
