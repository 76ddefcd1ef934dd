"""What a race between schedules shows: who is still in it, who is better, and how sure that is.

Each entrant has values on the first few of the same fresh seeds, at least one; lower is better. In
the model a value is entrant + seed + noise, the noise alike for all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

CONFIDENCE = 0.8
"""Of intervals: a difference beyond one is due to chance in one of ten cases.

What it should be is a matter of costs: `benchmarks/recommendation.py` has both sides of it.
"""

ENOUGH_DEGREES = 3  # of freedom, from which noise is measured between seeds that all had

Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Noise:
    """How much an entrant's values differ by chance.

    Attributes:
        deviation: standard deviation of a value; NaN where it is unknown.
        degrees: of freedom that it is estimated with; 0 where it is unknown.
    """

    deviation: float
    degrees: int

    @classmethod
    def of(cls, values: Values, before: Mapping[str, float] | None = None) -> "Noise":
        """Pool the noise of all entrants.

        Where there are enough values, what a seed does to all alike is no noise. Else it counts as
        noise, and so does how the entrants' values in the search differ from those in the race:
        these were lucky ones, which makes the noise too large rather than too small.

        Args:
            values: of each entrant, by seed.
            before: the value that an entrant had in the search, on another seed.
        """
        rows = [(n, seed, value) for n in values for seed, value in enumerate(values[n])]
        seeds = max(map(len, values.values()))
        degrees = len(rows) - (len(values) + seeds - 1)
        if degrees >= ENOUGH_DEGREES:
            return cls(math.sqrt(_residual(rows, list(values), seeds) / degrees), degrees)
        again = {n: [*values[n], *_at(before or {}, n)] for n in values}
        degrees = sum(len(all_of) - 1 for all_of in again.values())
        squares = sum((value - mean(all_of)) ** 2 for all_of in again.values() for value in all_of)
        if degrees < ENOUGH_DEGREES and not squares:  # shares of few examples are often the same
            return cls(math.nan, 0)
        return cls(math.sqrt(squares / degrees), degrees)


def _at(values: Mapping[str, float], name: str) -> list[float]:
    return [values[name]] if name in values else []


def _residual(rows: Sequence[tuple[str, int, float]], names: list[str], seeds: int) -> float:
    """Return the squares that the additive model leaves, fitted by least squares."""
    design = np.zeros((len(rows), len(names) + seeds))
    for row, (name, seed, _) in enumerate(rows):
        design[row, [names.index(name), len(names) + seed]] = 1.0
    found = np.array([value for *_, value in rows])
    fitted = design @ np.linalg.lstsq(design, found, rcond=None)[0]
    return float(((found - fitted) ** 2).sum())


@dataclass(frozen=True)
class Difference:
    """How much lower an entrant's values are than another's, on the seeds of both.

    Attributes:
        mean: of the paired differences; above 0 it is better.
        uncertainty: half of the interval around it, at `CONFIDENCE`; infinite where it is unknown.
        seeds: that both were run on.
    """

    mean: float
    uncertainty: float
    seeds: int

    @classmethod
    def between(cls, one: Sequence[float], other: Sequence[float], noise: Noise) -> "Difference":
        """Compare two entrants' values, by seed, by Student's t."""
        from scipy.stats import t  # type: ignore[import-untyped]

        gaps = [theirs - ours for ours, theirs in zip(one, other, strict=False)]
        if not noise.degrees:
            return cls(mean(gaps), math.inf, len(gaps))
        times = float(t.ppf((1.0 + CONFIDENCE) / 2.0, noise.degrees))
        return cls(mean(gaps), times * noise.deviation * math.sqrt(2.0 / len(gaps)), len(gaps))

    @property
    def is_shown(self) -> bool:
        """Whether it is better by more than the uncertainty."""
        return self.mean > self.uncertainty


def best_of(values: Values) -> str:
    """Return whose mean is lowest among those with the most values; the first of equal ones."""
    most = max(map(len, values.values()))
    return min((n for n in values if len(values[n]) == most), key=lambda n: mean(values[n]))


def still_in(values: Values, noise: Noise, kept: str) -> list[str]:
    """Return who stays in a race: those that the best isn't shown to be better than.

    Args:
        values: of those that are in it so far, on the same seeds.
        noise: of the race.
        kept: who stays in any case.
    """
    if not values:
        return []
    best = values[best_of(values)]
    return [
        name
        for name in values
        if name == kept or not Difference.between(best, values[name], noise).is_shown
    ]


def affordable(
    values: Values, costs: Mapping[str, float], purse: float, incumbents: Sequence[str]
) -> list[str]:
    """Return who can be run on another seed: the last of the others than incumbents stay behind.

    Args:
        values: of those that are in the race.
        costs: of a run of each.
        purse: what all runs may cost; nobody is run where the incumbents and the best cost more.
        incumbents: names that stay, if they are in the race.
    """
    purse *= 1.0 + 1e-9  # sums of the same costs differ in their last digits
    kept = [name for name in values if name in incumbents]
    rivals = sorted((n for n in values if n not in incumbents), key=lambda n: mean(values[n]))
    while len(rivals) > 1 and sum(costs[name] for name in [*kept, *rivals]) > purse:
        rivals.pop()
    left = [*kept, *rivals]
    return left if sum(costs[name] for name in left) <= purse else []


def chosen(values: Values, noise: Noise, incumbents: Sequence[str]) -> str:
    """Return whom a race says to use: the best, where it is shown to be better than incumbents.

    Args:
        values: of all.
        noise: of the race.
        incumbents: the first of these that the best isn't shown to be better than is kept.
    """
    best = best_of(values)
    for name in incumbents:
        difference = Difference.between(values[best], values[name], noise)
        if not difference.is_shown:
            return name
    return best
