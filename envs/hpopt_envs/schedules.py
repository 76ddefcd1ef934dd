"""How the learning rate and the divergence weight of a held configuration move over a trial.

Positions are shares of the trial's tokens that were trained before a step, in [0, 1).
"""

import math
from collections.abc import Mapping

from hpopt_search_spaces import Value

SHAPES = ("constant", "linear", "cosine")
# What a trial trains with where the space doesn't say: a held configuration decays to zero, an
# agent that sets the learning rate itself gets what it asked for.
HELD_SHAPE: dict[str, Value] = {"schedule_shape": "linear", "warmup_fraction": 0.03}
AGENT_SHAPE: dict[str, Value] = {"schedule_shape": "constant", "warmup_fraction": 0.0}


def shape_factor(
    position: float, shape: str, warmup_fraction: float, final_fraction: float = 0.0
) -> float:
    """Return what the learning rate is multiplied by, in [0, 1].

    Linear warm-up from 0 over `warmup_fraction`, then constant, or down to `final_fraction` at the
    end along a line or half a cosine.

    Args:
        position: in the trial.
        shape: one of `SHAPES`.
        warmup_fraction: share of the trial, in [0, 1).
        final_fraction: in [0, 1]; means nothing to a constant shape.
    """
    if position < warmup_fraction:
        return position / warmup_fraction
    if shape == "constant":
        return 1.0
    left = (1.0 - position) / (1.0 - warmup_fraction)
    fallen = left if shape == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
    return final_fraction + (1.0 - final_fraction) * fallen


def learning_rate_at(position: float, hyperparameters: Mapping[str, Value]) -> float:
    """Return the learning rate of a step."""
    factor = shape_factor(
        position,
        str(hyperparameters.get("schedule_shape", "constant")),
        float(hyperparameters.get("warmup_fraction", 0.0)),
        float(hyperparameters.get("final_fraction", 0.0)),
    )
    return float(hyperparameters["learning_rate"]) * factor


def divergence_weight_at(position: float, hyperparameters: Mapping[str, Value]) -> float:
    """Return the divergence weight of a step: on a line to `final_divergence_weight`, if given."""
    start = float(hyperparameters.get("divergence_weight", 0.0))
    end = float(hyperparameters.get("final_divergence_weight", start))
    return start + (end - start) * position
