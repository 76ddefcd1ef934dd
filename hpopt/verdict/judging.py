"""What a comparison shows: each searcher beside the one that was named beforehand."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import count
from statistics import mean

import numpy as np

from ..wording import counted
from .outcome import TOLERANCE, Comparison, Curve, best_at
from .statistics import (
    Array,
    ComputeRatio,
    Interval,
    average_ranks,
    bootstrap_interval,
    compute_ratio,
    holm,
    interquartile_mean,
    least_p,
    mean_difference,
    probability_of_improvement,
    sign_flip_p,
)

LEVEL = 0.05
EPSILON = 0.01  # normalised regret within which a result counts as reached


class Conclusion(Enum):
    """What a test came to."""

    BETTER = "better"  # than the searcher it is compared with
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"
    TOO_FEW = "too few blocks to tell"  # no result of so many blocks could reach the level


@dataclass(frozen=True)
class Estimate:
    """A statistic, and its bootstrap 95% interval where the seeds allow one."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class SignFlip:
    """The test of a searcher's regret at the final cost against the baseline's.

    Attributes:
        blocks: (task, seed) pairs in which both have a finished study.
        p: of the sign-flip test.
        adjusted_p: after Holm's correction for all searchers of the comparison.
        conclusion: at the 5% level.
    """

    blocks: int
    p: float
    adjusted_p: float
    conclusion: Conclusion


@dataclass(frozen=True)
class Contrast:
    """A searcher beside the baseline, over the blocks of both.

    Attributes:
        test: of their difference.
        difference: mean regret of the searcher minus that of the baseline: below 0 is better.
        improvement: probability that the searcher is better.
        leader, follower: which of the two has the lower mean regret, and the other.
        compute: what the leader's results cost the follower, by what they cost the leader; None
            where the leader never improved on the base model.
    """

    test: SignFlip
    difference: Estimate
    improvement: Estimate
    leader: str
    follower: str
    compute: ComputeRatio | None


@dataclass(frozen=True)
class Row:
    """What a searcher came to.

    Attributes:
        searcher: its name.
        studies: finished ones.
        trials: in them.
        regrets: interquartile mean of normalised regret at each checkpoint, over the blocks that
            the baseline finished too; None without any.
        rank: average rank at the final cost, over the blocks that all searchers finished.
        contrast: with the baseline; None for the baseline itself, and without a common block.
        optimism: objective of its best schedules on fresh seeds and the test split minus what the
            search saw, in units of the gap from the base model to the best known, mean over tasks;
            None where nothing was confirmed.
        noise: standard deviation over fresh seeds, likewise.
    """

    searcher: str
    studies: int
    trials: int
    regrets: tuple[Estimate | None, ...]
    rank: float | None
    contrast: Contrast | None
    optimism: float | None
    noise: float | None


@dataclass(frozen=True)
class Verdict:
    """What a comparison shows; the searcher of lowest regret at the final cost comes first.

    Attributes:
        name: of the comparison.
        against: the baseline, named beforehand.
        checkpoints: full-run equivalents of cost, the final one last.
        rows: of each searcher.
        displace: see `Comparison`.
    """

    name: str
    against: str
    checkpoints: tuple[int, ...]
    rows: tuple[Row, ...]
    displace: float = 0.0


def judge(comparison: Comparison, generator: np.random.Generator) -> Verdict:
    """Draw the verdict; the generator draws bootstraps, and signs where there are many blocks."""
    regrets = np.stack([comparison.regrets(c) for c in comparison.checkpoints], axis=1)
    final = dict(zip(comparison.searchers, regrets[:, -1], strict=True))
    contrasts = {
        searcher: _contrast(comparison, searcher, test, final, generator)
        for searcher, test in sign_flips(comparison, generator).items()
    }
    ranks = average_ranks(regrets[:, -1])
    baseline = regrets[comparison.searchers.index(comparison.against)]
    rows = []
    for searcher, own, rank in zip(comparison.searchers, regrets, ranks, strict=True):
        own = np.where(np.isnan(baseline), np.nan, own)
        curves = [c for (_, s, _), c in comparison.curves.items() if s == searcher]
        optimism, noise = _confirmation(comparison, searcher)
        rows.append(
            Row(
                searcher=searcher,
                studies=len(curves),
                trials=sum(curve.trials for curve in curves),
                regrets=tuple(_estimate(interquartile_mean, at, generator=generator) for at in own),
                rank=None if np.isnan(rank) else float(rank),
                contrast=contrasts.get(searcher),
                optimism=optimism,
                noise=noise,
            )
        )
    rows.sort(key=lambda row: np.inf if row.regrets[-1] is None else row.regrets[-1].value)
    return Verdict(
        name=comparison.name,
        against=comparison.against,
        checkpoints=comparison.checkpoints,
        rows=tuple(rows),
        displace=comparison.displace,
    )


def sign_flips(comparison: Comparison, generator: np.random.Generator) -> dict[str, SignFlip]:
    """Test every searcher but the baseline against it, at the final cost."""
    regrets = dict(
        zip(comparison.searchers, comparison.regrets(comparison.equivalents), strict=True)
    )
    baseline = regrets.pop(comparison.against)
    differences = {s: (own - baseline)[~np.isnan(own - baseline)] for s, own in regrets.items()}
    p_values = [sign_flip_p(blocks, generator) for blocks in differences.values()]
    return {
        searcher: SignFlip(len(blocks), p, adjusted, _conclude(blocks, adjusted, len(p_values)))
        for (searcher, blocks), p, adjusted in zip(
            differences.items(), p_values, holm(p_values), strict=True
        )
    }


def _conclude(differences: Array, adjusted_p: float, comparisons: int) -> Conclusion:
    if adjusted_p <= LEVEL:
        return Conclusion.BETTER if differences.mean() < 0 else Conclusion.WORSE
    if least_p(len(differences)) * comparisons > LEVEL:
        return Conclusion.TOO_FEW
    return Conclusion.NOT_SHOWN


def blocks_needed(comparisons: int) -> int:
    """Return the least number of blocks whose sign-flip test can reach the level after Holm."""
    return next(blocks for blocks in count(1) if least_p(blocks) * comparisons <= LEVEL)


def blocks_warning(blocks: int, comparisons: int) -> str | None:
    """Return what to say before a comparison that can't show anything; None where it can.

    Args:
        blocks: tasks × seeds.
        comparisons: searchers beside the baseline.
    """
    needed = blocks_needed(comparisons)
    if blocks >= needed:
        return None
    best = min(1.0, least_p(blocks) * comparisons)
    return (
        f"{counted(blocks, 'block')} (tasks × seeds) can't show a difference at the {LEVEL:.0%} "
        f"level: with {counted(comparisons, 'comparison')} p is at best {best:.2g}; "
        f"{needed} blocks would do."
    )


def _estimate(
    statistic: Callable[..., Array], *arrays: Array, generator: np.random.Generator
) -> Estimate | None:
    """Return an estimate over arrays (tasks, seeds); None where no block is in all of them."""
    if np.isnan(arrays).any(axis=0).all():
        return None
    interval = bootstrap_interval(statistic, *arrays, generator=generator)
    return Estimate(float(statistic(*arrays)), interval)


def _contrast(
    comparison: Comparison,
    searcher: str,
    test: SignFlip,
    final: Mapping[str, Array],
    generator: np.random.Generator,
) -> Contrast | None:
    leader, follower = searcher, comparison.against
    missing = np.isnan(final[leader] - final[follower])
    own, other = (np.where(missing, np.nan, final[name]) for name in (leader, follower))
    difference = _estimate(mean_difference, own, other, generator=generator)
    improvement = _estimate(probability_of_improvement, own, other, generator=generator)
    if difference is None or improvement is None:
        return None
    if difference.value > 0:
        leader, follower = follower, leader
    costs = _costs(comparison, leader, follower)
    compute = compute_ratio(*costs, budget=comparison.equivalents, generator=generator)
    return Contrast(test, difference, improvement, leader, follower, compute)


def _costs(comparison: Comparison, leader: str, follower: str) -> tuple[Array, Array]:
    """Return cost at which each came within ε of the leader's final value.

    Returns:
        Shape (tasks, seeds) each, in full-run equivalents; NaN where a study is missing or the
        base model is within ε too, so that nothing had to be spent; infinite where it never came.
    """
    own, other = (np.full((len(comparison.tasks), len(comparison.seeds)), np.nan) for _ in range(2))
    for row, task in enumerate(comparison.tasks):
        base = comparison.facts[task].base_objective
        gap = base - comparison.best_known(task)
        for column, seed in enumerate(comparison.seeds):
            leading = comparison.curves.get((task, leader, seed))
            following = comparison.curves.get((task, follower, seed))
            if leading is None or following is None:
                continue
            target = best_at(leading, comparison.equivalents, base) + EPSILON * gap
            if target < base:
                own[row, column] = _cost_of(leading, target, comparison.equivalents)
                other[row, column] = _cost_of(following, target, comparison.equivalents)
    return own, other


def _cost_of(curve: Curve, target: float, equivalents: float) -> float:
    """Return the cost at which a study reached a value; infinite where that took too much."""
    reached = (e for e, v in zip(curve.equivalents, curve.values, strict=True) if v <= target)
    cost = next(reached, math.inf)
    return cost if cost <= equivalents + TOLERANCE else math.inf


def _confirmation(comparison: Comparison, searcher: str) -> tuple[float | None, float | None]:
    """Return optimism and noise of what was confirmed of a searcher."""
    optimism, noise = [], []
    for task in comparison.tasks:
        judged = comparison.confirmed.get((task, searcher))
        gap = comparison.facts[task].base_objective - comparison.best_known(task)
        if judged is None or gap <= 0:
            continue
        if judged.mean is not None:
            optimism.append((judged.mean - comparison.best_values[task, searcher]) / gap)
        if judged.spread is not None:
            noise.append(judged.spread / gap)
    return (mean(optimism) if optimism else None), (mean(noise) if noise else None)
