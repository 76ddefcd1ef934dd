"""What a comparison came to, as plain data: what the table, the verdict and the report rest on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpopt_envs.records import RunFacts

from ..record.judged import Judged
from .statistics import interquartile_mean

# Full-run equivalents at which searchers are compared, as far as their budget reaches.
CHECKPOINTS = (1, 2, 3, 5, 8, 10, 20, 50, 100, 200)
# A full-run equivalent is computed from mean lengths. Where examples differ in length, trials cost
# some percent more or less, which must not move the first one past the first checkpoint.
TOLERANCE = 0.1  # full-run equivalents


@dataclass(frozen=True)
class Curve:
    """The best so far of one study.

    Attributes:
        equivalents: cost at which it improved, set-up left out, in full-run equivalents.
        values: what it improved to, as minimised.
        trials: that the study ran.
    """

    equivalents: tuple[float, ...]
    values: tuple[float, ...]
    trials: int


@dataclass(frozen=True)
class Comparison:
    """Studies of several searchers on the same tasks and seeds.

    Attributes:
        name: of the comparison.
        tasks, searchers, seeds: what was compared, in order.
        against: the searcher that was named beforehand as the one to compare with.
        equivalents: full-run equivalents of cost that every study could spend.
        facts: of each task.
        curves: by (task, searcher, seed), of the studies that ended.
        confirmed: by (task, searcher), the best schedule on fresh seeds and the test split.
        best_values: by (task, searcher), on validation, as minimised, of what was confirmed.
        displace: standard deviation, in octaves, of how far blocks have default and range of the
            learning rate displaced. What is minimised is the same in all of a task's blocks.
    """

    name: str
    tasks: tuple[str, ...]
    searchers: tuple[str, ...]
    seeds: tuple[int, ...]
    against: str
    equivalents: int
    facts: Mapping[str, RunFacts]
    curves: Mapping[tuple[str, str, int], Curve]
    confirmed: Mapping[tuple[str, str], Judged]
    best_values: Mapping[tuple[str, str], float]
    displace: float = 0.0

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Full-run equivalents at which searchers are compared, the last one included."""
        return tuple(sorted({*(c for c in CHECKPOINTS if c < self.equivalents), self.equivalents}))

    def best_known(self, task: str) -> float:
        """Return the lowest known objective on a task: of its table, else of all its studies."""
        facts = self.facts[task]
        if facts.best_objective is not None:
            return facts.best_objective
        values = [c.values[-1] for (t, _, _), c in self.curves.items() if t == task and c.values]
        return min([facts.base_objective, *values])

    def regrets(self, equivalents: float) -> NDArray[np.float64]:
        """Return the normalised regret at a cost: 0 is the best known, 1 the base model.

        A search that has found nothing better than the base model is where it is.

        Returns:
            Shape (searchers, tasks, seeds); NaN where a study is missing.
        """
        shape = (len(self.searchers), len(self.tasks), len(self.seeds))
        regrets = np.full(shape, np.nan)
        for column, task in enumerate(self.tasks):
            base, best = self.facts[task].base_objective, self.best_known(task)
            for row, searcher in enumerate(self.searchers):
                for depth, seed in enumerate(self.seeds):
                    curve = self.curves.get((task, searcher, seed))
                    if curve is not None:
                        value = min(base, best_at(curve, equivalents, base))
                        gap = base - best
                        regrets[row, column, depth] = (value - best) / gap if gap > 0 else 0.0
        return regrets


def best_at(curve: Curve, equivalents: float, before: float) -> float:
    """Return the best so far at a cost, as minimised; `before` where there was none yet."""
    pairs = zip(curve.equivalents, curve.values, strict=True)
    reached = [value for cost, value in pairs if cost <= equivalents + TOLERANCE]
    return reached[-1] if reached else before


def grid(comparison: Comparison) -> dict[str, Any]:
    """Return every searcher's curves at the same costs, one value each over tasks and seeds.

    Returns:
        Plain data: whole full-run equivalents, at each the interquartile mean of normalised regret
        by searcher, and by task and searcher the mean of the best so far, as its user knows it.
        None where a searcher has no study.
    """
    costs = list(range(1, comparison.equivalents + 1))
    regrets = np.stack([comparison.regrets(cost) for cost in costs], axis=1)
    baseline = regrets[comparison.searchers.index(comparison.against)]
    common = [np.where(np.isnan(baseline), np.nan, own) for own in regrets]  # as in the table
    return {
        "full_run_equivalents": costs,
        "normalised_regret": {
            who: [None if np.isnan(at).all() else float(interquartile_mean(at)) for at in own]
            for who, own in zip(comparison.searchers, common, strict=True)
        },
        "best_so_far": {
            task: {who: _best_so_far(comparison, task, who, costs) for who in comparison.searchers}
            for task in comparison.tasks
        },
    }


def _best_so_far(
    comparison: Comparison, task: str, searcher: str, costs: Sequence[int]
) -> list[float | None]:
    facts = comparison.facts[task]
    base, seeds = facts.base_objective, comparison.seeds
    curves = [comparison.curves.get((task, searcher, seed)) for seed in seeds]
    found = [curve for curve in curves if curve is not None]
    if not found:
        return [None] * len(costs)
    return [
        facts.shown(float(np.mean([min(base, best_at(c, cost, base)) for c in found])))
        for cost in costs
    ]
