"""The statistics of comparisons, as pure functions; whatever draws takes a generator.

A *block* is a task and a seed. Arrays have the shape (..., tasks, seeds) unless said otherwise;
NaN marks a block that is missing. Lower values are better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import StudyError

Array = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 2_000
EXACT_BLOCKS = 16  # up to here all sign patterns are tried
SIGN_DRAWS = 10_000  # sign patterns that are drawn above it


def interquartile_mean(values: Array) -> Array:
    """Mean of what is left when the lowest and the highest quarter of all blocks are cut.

    As `scipy.stats.trim_mean` cuts: n // 4 at each end. Agarwal et al. 2021, arXiv 2108.13264.

    Returns:
        Shape (...).
    """
    ordered = np.sort(values.reshape(*values.shape[:-2], -1), axis=-1)  # NaN goes last
    count = np.count_nonzero(~np.isnan(ordered), axis=-1, keepdims=True)
    place = np.arange(ordered.shape[-1])
    kept = (place >= count // 4) & (place < count - count // 4)
    return np.asarray(np.mean(ordered, axis=-1, where=kept))


def mean_difference(a: Array, b: Array) -> Array:
    """Mean of a − b over blocks; shape (...)."""
    return np.asarray(np.nanmean(a - b, axis=(-2, -1)))


def probability_of_improvement(a: Array, b: Array) -> Array:
    """Return how often a is below b: over all pairs of seeds of a task, ties half, mean over tasks.

    Agarwal et al. 2021, arXiv 2108.13264.

    Args:
        a: shape (..., tasks, seeds).
        b: alike. A task without a pair is left out.

    Returns:
        Shape (...), in [0, 1].
    """
    first, second = a[..., :, None], b[..., None, :]
    wins = (first < second) + 0.5 * (first == second)  # NaN neither wins nor ties
    pairs = (~np.isnan(first) & ~np.isnan(second)).sum(axis=(-2, -1))
    shares = wins.sum(axis=(-2, -1)) / np.where(pairs > 0, pairs, np.nan)
    return np.asarray(np.nanmean(shares, axis=-1))


def average_ranks(values: Array) -> Array:
    """Mean rank of each searcher, 1 the best; equal ones share the mean of their ranks.

    Args:
        values: shape (searchers, tasks, seeds). A block that a searcher misses is left out.

    Returns:
        Shape (searchers,); NaN where no block is complete.
    """
    blocks = values.reshape(len(values), -1)
    blocks = blocks[:, ~np.isnan(blocks).any(axis=0)]
    if not blocks.size:
        return np.full(len(values), np.nan)
    below = (blocks[None] < blocks[:, None]).sum(axis=1)
    equal = (blocks[None] == blocks[:, None]).sum(axis=1)  # itself included
    return np.asarray((below + (equal + 1) / 2).mean(axis=1))


def bootstrap_interval(
    statistic: Callable[..., Array],
    *arrays: Array,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """Return a stratified percentile bootstrap interval, 95%: seeds are resampled within each task.

    It describes how much a statistic moves with the seeds; it is no test.

    Args:
        statistic: of arrays (..., tasks, seeds), with the shape (...).
        arrays: of shape (tasks, seeds) each; all are given the same seeds, and a block that one
            of them misses is drawn for none.
        generator: draws the seeds.
        resamples: how many.

    Returns:
        Lower and upper end; None where no task has two blocks, as nothing could move.
    """
    present = ~np.isnan(arrays).any(axis=0)
    counts = present.sum(axis=1, keepdims=True)
    if counts.max(initial=0) < 2:
        return None
    order = np.argsort(~present, axis=1, kind="stable")  # those that are there come first
    places = (generator.random((resamples, *present.shape)) * counts).astype(np.intp)
    seeds = np.take_along_axis(order[None], places, axis=2)
    drawn = np.arange(present.shape[1]) < counts  # as many as there are
    samples = [
        np.where(drawn, np.take_along_axis(array[None], seeds, axis=2), np.nan) for array in arrays
    ]
    found = np.sort(statistic(*samples))
    outside = int(0.025 * resamples)
    return float(found[outside]), float(found[-1 - outside])


@dataclass(frozen=True)
class ComputeRatio:
    """How many times its compute one searcher's result costs another.

    Attributes:
        value: Kaplan-Meier median of the ratios; where that isn't reached, the median of what was
            seen, censored ones at their limit.
        reached: whether it is, and most blocks weren't censored; where not, the median ratio is
            more than `value`.
        interval: stratified bootstrap, 95%; an end that isn't reached is infinite.
        blocks: that it rests on.
        censored: of them, those whose ratio is only known to be more than the budget allowed.
    """

    value: float
    reached: bool
    interval: Interval | None
    blocks: int
    censored: int


def compute_ratio(
    own: Array, other: Array, budget: float, generator: np.random.Generator
) -> ComputeRatio | None:
    """Return how many times the compute another searcher needs to reach a searcher's results.

    Args:
        own: cost at which the searcher itself got there, above 0; shape (tasks, seeds).
        other: cost at which the other did; infinite where it didn't within the budget.
        budget: cost that each could spend; above it a ratio is right-censored.
        generator: draws the bootstrap.

    Returns:
        None where there is no block.
    """
    ratios = np.where(np.isinf(other), budget, other) / own
    reached = np.where(np.isnan(ratios), np.nan, np.isfinite(other))
    blocks = int(np.count_nonzero(~np.isnan(ratios)))
    if not blocks:
        return None
    median = float(_median_ratio(ratios, reached))
    return ComputeRatio(
        value=median if np.isfinite(median) else float(np.nanmedian(ratios)),
        reached=bool(np.isfinite(median)),
        interval=bootstrap_interval(_median_ratio, ratios, reached, generator=generator),
        blocks=blocks,
        censored=int(np.count_nonzero(reached == 0)),
    )


def _median_ratio(ratios: Array, reached: Array) -> Array:
    """Return the Kaplan-Meier median, infinite also where most were censored.

    The limit is the budget by what the leader needed, so that a few blocks in which it was quick
    are watched longest, and alone would decide the median where most others were censored.
    """
    known = np.nanmean(reached, axis=(-2, -1)) >= 0.5
    return np.where(known, kaplan_meier_median(ratios, reached), np.inf)


def kaplan_meier_median(times: Array, reached: Array) -> Array:
    """Return the least time at which the estimated survival is at most one half.

    Kaplan & Meier 1958; at equal times, what was reached comes before what was censored.

    Args:
        times: shape (..., tasks, seeds), all blocks together.
        reached: 1 where the event came at that time, 0 where it was censored then.

    Returns:
        Shape (...); infinite where survival stays above one half.
    """
    times, reached = (x.reshape(*x.shape[:-2], -1) for x in (times, reached))
    order = np.lexsort((-reached, times), axis=-1)  # NaN goes last
    times, reached = (np.take_along_axis(x, order, axis=-1) for x in (times, reached))
    count = np.count_nonzero(~np.isnan(times), axis=-1, keepdims=True)
    at_risk = np.maximum(count - np.arange(times.shape[-1]), 1)
    survival = np.cumprod(1 - np.nan_to_num(reached) / at_risk, axis=-1)
    passed = (survival <= 0.5 + 1e-12) & ~np.isnan(times)  # to rounding
    return np.asarray(np.where(passed, times, np.inf).min(axis=-1))


def sign_flip_p(differences: Array, generator: np.random.Generator) -> float:
    """Return two-sided p of a mean of zero: each block's sign might have been the other.

    Exact up to `EXACT_BLOCKS` blocks, by all sign patterns; above, (1 + extreme) / (1 + drawn),
    which keeps the level (Phipson & Smyth 2010). It speaks of these blocks: that seeds of one task
    agree says nothing of other tasks.

    Args:
        differences: shape (blocks,).
        generator: draws the signs, where they are drawn.

    Returns:
        p in (0, 1]; 1 where there is no block.

    Raises:
        StudyError: a difference isn't finite.
    """
    if not np.isfinite(differences).all():
        raise StudyError(f"sign-flip test: differences must be finite, but got {differences}")
    blocks = len(differences)
    exact = blocks <= EXACT_BLOCKS
    if exact:
        flips = np.arange(2**blocks)[:, None] >> np.arange(blocks) & 1
    else:
        flips = generator.integers(0, 2, (SIGN_DRAWS, blocks), dtype=np.int8)
    sums = np.abs((1.0 - 2.0 * flips) @ differences)
    rounding = 1e-12 * np.abs(differences).sum()  # what is equal must count as equal
    extreme = int(np.count_nonzero(sums >= abs(differences.sum()) - rounding))
    return extreme / len(flips) if exact else (1 + extreme) / (1 + len(flips))


def least_p(blocks: int) -> float:
    """Return the smallest p that a sign-flip test of so many blocks can give."""
    return min(1.0, 2.0 ** (1 - blocks))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number; in the order in which they were given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = highest
    return adjusted
