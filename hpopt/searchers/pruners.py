"""Optuna's pruners, with settings that fit the budget; a step is a segment's index, from 0."""

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

from .base import SearchPlan
from .samplers import startup_trials

REDUCTION_FACTOR = 3  # of successive halving: a third goes on


def none(plan: SearchPlan, segments: int) -> BasePruner:
    """Return a pruner that stops nothing."""
    return NopPruner()


def median(plan: SearchPlan, segments: int) -> BasePruner:
    """Return a median pruner that waits for a quarter of a trial."""
    startup = startup_trials(plan)
    return MedianPruner(n_startup_trials=startup, n_warmup_steps=segments // 4)


def successive_halving(plan: SearchPlan, segments: int) -> BasePruner:
    """Return successive halving from an eighth of a trial on."""
    return SuccessiveHalvingPruner(min_resource=_first(segments), reduction_factor=REDUCTION_FACTOR)


def hyperband(plan: SearchPlan, segments: int) -> BasePruner:
    """Return Hyperband over a trial's segments."""
    return HyperbandPruner(
        min_resource=_first(segments), max_resource=segments, reduction_factor=REDUCTION_FACTOR
    )


def _first(segments: int) -> int:
    """Return the segments of a trial before its first checkpoint."""
    return max(1, segments // 8)
