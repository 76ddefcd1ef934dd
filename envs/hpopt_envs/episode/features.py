"""Observation, reward and action decoding, as pure functions over arrays of n trials.

The single environment calls them with n = 1, a batched simulator with any n: two copies that drift
apart are the classic reason why what was learned in simulation fails outside it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OBSERVATION_VERSION = 4  # of the table, and of what rewards, actions and probes mean
CANONICAL = ("learning_rate", "batch_size", "divergence_weight")
SLOPES = (1, 4, 16)  # segments, or as many as a trial has behind it
WORST_RETURN = -1.0  # of a trial: an explosion's, and that of what did as much harm


@dataclass(frozen=True)
class Feature:
    """One coordinate of the observation; its index is its position in `FEATURES`."""

    name: str
    unit: str
    low: float
    high: float


def _ratio(name: str, to: str) -> Feature:
    return Feature(name, f"ln ratio to {to}", -8.0, 8.0)


def _ago(segments: int) -> str:
    return f"{segments} segments ago, or the first" if segments > 1 else "the segment before"


FEATURES: tuple[Feature, ...] = (
    Feature("progress", "share of the trial's tokens", 0.0, 1.0),
    _ratio("train_loss", "the base model's loss"),
    *(Feature(f"train_loss_slope_{k}", f"ln ratio, now to {_ago(k)}", -8.0, 8.0) for k in SLOPES),
    Feature("validation_gap", "ln ratio of validation to training loss", -8.0, 8.0),
    Feature("improvement", "(base objective − constrained objective)/scale", -10.0, 10.0),
    *(Feature(f"improvement_slope_{k}", f"gain since {_ago(k)}", -10.0, 10.0) for k in SLOPES),
    _ratio("gradient_norm", "the trial's first segment"),
    Feature("gradient_variation", "standard deviation/mean", 0.0, 10.0),
    Feature("clip_fraction", "share of steps", 0.0, 1.0),
    _ratio("noise_scale", "the batch size"),
    Feature("has_noise_scale", "1 where it was measured", 0.0, 1.0),
    Feature("divergence", "nats a token", 0.0, 20.0),
    Feature("divergence_slope_1", "nats a token, since the segment before", -20.0, 20.0),
    *(Feature(f"z_{name}", "log2 ratio to the default", -32.0, 32.0) for name in CANONICAL),
    *(Feature(f"has_{name}", "1 where the space has it", 0.0, 1.0) for name in CANONICAL),
    Feature("divergence_weight_is_zero", "flag", 0.0, 1.0),
    *(Feature(f"move_{name}", "log2, last change", -32.0, 32.0) for name in CANONICAL),
    *(Feature(f"earlier_move_{name}", "log2, the one before", -32.0, 32.0) for name in CANONICAL),
    Feature("parameters", "log10 of the trained parameters", 0.0, 14.0),
    Feature("trial_tokens", "log10", 0.0, 14.0),
    Feature("lora", "flag", 0.0, 1.0),
    Feature("budget_left", "share of the study's budget", 0.0, 1.0),
    Feature("best_improvement", "(base objective − best value)/scale", -10.0, 10.0),
    Feature("rank", "share of ended trials that were better here", 0.0, 1.0),
)
LOW = np.array([feature.low for feature in FEATURES], dtype=np.float32)
HIGH = np.array([feature.high for feature in FEATURES], dtype=np.float32)


@dataclass(frozen=True)
class Traces:
    """What n trials have gone through, on their paths of up to T segments.

    Attributes:
        length: segments on each path so far, shape (n,), integers.
        train_loss, validation_loss, improvement, divergence, gradient_norm, gradient_norm_std,
            clip_fraction, noise_scale: shape (n, T), NaN where unmeasured or not reached.
        ratios: log2 ratios to the default of `CANONICAL`, shape (n, T + 1, 3); entry 0 is what the
            trial starts from; NaN where the space lacks it.
        weight_is_zero: whether the divergence weight is exactly 0 now, shape (n,).
        progress: share of the trial's tokens trained on, shape (n,).
        base_loss: the base model's loss, shape (n,).
        constants: log10 trained parameters, log10 trial tokens, LoRA flag, shape (n, 3).
        study: budget left, best improvement, rank, shape (n, 3).
    """

    length: NDArray[np.int64]
    train_loss: Array
    validation_loss: Array
    improvement: Array
    divergence: Array
    gradient_norm: Array
    gradient_norm_std: Array
    clip_fraction: Array
    noise_scale: Array
    ratios: Array
    weight_is_zero: Array
    progress: Array
    base_loss: Array
    constants: Array
    study: Array


def _at(values: Array, index: NDArray[np.int64]) -> Array:
    """Return values[i, index[i]], NaN where the index is negative; shape (n, ...)."""
    picked = values[np.arange(len(values)), np.maximum(index, 0)]
    missing = (index < 0).reshape((-1,) + (1,) * (picked.ndim - 1))
    return np.where(missing, np.nan, picked)


def observe(traces: Traces) -> NDArray[np.float32]:
    """Return observations, shape (n, len(FEATURES)), within [LOW, HIGH]; unmeasured is 0."""
    last = traces.length - 1

    def log(values: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(values)

    def now(values: Array) -> Array:
        return _at(values, last)

    def slope(values: Array, back: int) -> Array:
        return now(values) - _at(values, np.maximum(last - back, np.minimum(last, 0)))

    train, weights = log(traces.train_loss), traces.ratios
    here = _at(weights, traces.length)
    earlier = _at(weights, traces.length - 1)
    before = _at(weights, traces.length - 2)
    # A first gradient norm may be infinite, where an explosion was rolled back.
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [
            traces.progress,
            now(train) - log(traces.base_loss),
            *(slope(train, k) for k in SLOPES),
            log(now(traces.validation_loss)) - now(train),
            now(traces.improvement),
            *(slope(traces.improvement, k) for k in SLOPES),
            log(now(traces.gradient_norm)) - log(traces.gradient_norm[:, 0]),
            now(traces.gradient_norm_std) / now(traces.gradient_norm),
            now(traces.clip_fraction),
            log(now(traces.noise_scale)),
            ~np.isnan(now(traces.noise_scale)),
            now(traces.divergence),
            slope(traces.divergence, 1),
            *here.T,
            *(~np.isnan(here)).T,
            traces.weight_is_zero,
            *(here - earlier).T,
            *(earlier - before).T,
            *traces.constants.T,
            *traces.study.T,
        ]
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    clipped = np.clip(np.nan_to_num(table, nan=0.0, posinf=1e6, neginf=-1e6), LOW, HIGH)
    return clipped.astype(np.float32)


def reward(after: Array, exploded: NDArray[np.bool_], returned: Array) -> Array:
    """Return rewards of one segment, shape (n,).

    Rewards telescope: a trial's add up to its improvement over the base model, and to no less than
    `WORST_RETURN`, which an explosion brings. Without that floor it would be the best way out of a
    trial that did worse.

    Args:
        after: (base objective − constrained objective)/scale after the segment, or at the last
            measurement; ignored where exploded.
        exploded: whether the trial ended without a value.
        returned: sum of the trial's rewards so far.
    """
    return np.where(exploded, WORST_RETURN, np.maximum(after, WORST_RETURN)) - returned
