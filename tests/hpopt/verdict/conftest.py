"""Comparisons to judge."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from hpopt.verdict.outcome import Comparison, Curve
from hpopt_envs.records import RunFacts
from tests.hpopt.verdict.comparing import EQUIVALENTS, Array, Compare


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(8)


@pytest.fixture
def compare(facts: RunFacts) -> Compare:
    """Makes a comparison out of final values, or whole curves, by searcher.

    An array has the shape (tasks, seeds); NaN is a study that didn't finish. Every task goes from
    1 at the base model to 0 at the best known, so that values are regrets.
    """

    def made(finals: Mapping[str, Array] | None = None, **curves: Curve) -> Comparison:
        finals = finals or {name: np.zeros((1, 1)) for name in curves}
        tasks, seeds = next(iter(finals.values())).shape
        return Comparison(
            name="otter",
            tasks=tuple(f"task-{t}" for t in range(tasks)),
            searchers=tuple(finals),
            seeds=tuple(range(seeds)),
            against="tpe",
            equivalents=EQUIVALENTS,
            facts={
                f"task-{t}": replace(facts, base_objective=1.0, best_objective=0.0)
                for t in range(tasks)
            },
            curves={
                (f"task-{t}", name, s): curves.get(name, Curve((2.0,), (float(values[t, s]),), 7))
                for name, values in finals.items()
                for t, s in np.ndindex(tasks, seeds)
                if not np.isnan(values[t, s])
            },
            confirmed={},
            best_values={},
        )

    return made
