"""A grid whose resolution follows from the budget."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hpopt_envs.randomness import key
from hpopt_search_spaces import ChoiceParameter, FloatParameter, Parameter, SearchSpace, Value

from .base import SearchPlan, known_before
from .default import ListProposer
from .driver import ProposerSearcher

if TYPE_CHECKING:
    from ..pool.metered import MeteredPool

# Shares of the budget on a log scale: the learning rate gets as many levels as two others.
WEIGHTS = {"learning_rate": 2.0}


def build(plan: SearchPlan) -> ProposerSearcher:
    """See `AgentSpec.build`."""

    def propose(pool: "MeteredPool") -> ListProposer:
        known = known_before(pool.space, pool.facts) if plan.prior == "default" else []
        return ListProposer(points_in_order(pool.space, plan, known))

    return ProposerSearcher(propose)


def points_in_order(
    space: SearchSpace, plan: SearchPlan, first: Sequence[dict[str, Value]]
) -> Iterator[dict[str, Value]]:
    """Yield every point of a grid once, in an order shuffled by the seed.

    A grid that is cut off by the budget is thus still spread over the space. What is `first` comes
    first, and the grid has so many trials less. Where the budget outlasts
    the grid, since trials ended early or the study was extended, grids twice as fine follow, while
    the space has other points.
    """
    yield from first
    seen = {_identity(point) for point in first}
    size = max(1, plan.trials - len(first))
    while points := [p for p in grid_points(space, size) if _identity(p) not in seen]:
        random.Random(key(plan.seed, "grid", size)).shuffle(points)
        yield from points
        seen |= {_identity(point) for point in points}
        size *= 2


def grid_points(space: SearchSpace, size: int) -> list[dict[str, Value]]:
    """Return at most `size` different configurations, every combination of some levels.

    Args:
        space: resolved.
        size: at least 1.
    """
    counts = grid_counts(space, size)
    levels = [_levels(p, count) for p, count in zip(space.parameters, counts, strict=True)]
    # Where a parameter is switched off, its levels are one and the same configuration.
    points = {_identity(point): point for point in map(space.decode, itertools.product(*levels))}
    return list(points.values())


def _identity(point: dict[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(point.items())


def grid_counts(space: SearchSpace, size: int) -> list[int]:
    """Return the number of levels of each parameter; their product is at most `size`.

    Levels go one by one to the parameter that has fewest for its weight, the first of equal ones,
    while the product allows it and the parameter has another value.
    """
    counts = [1] * space.dimension
    while True:
        rest = math.prod(counts)
        open_indices = [
            index
            for index, parameter in enumerate(space.parameters)
            if counts[index] < _values(parameter)
            and rest // counts[index] * (counts[index] + 1) <= size
        ]
        if not open_indices:
            return counts
        index = max(
            open_indices, key=lambda i: WEIGHTS.get(space.parameters[i].name, 1.0) / counts[i]
        )
        counts[index] += 1


def _values(parameter: Parameter) -> float:
    """Return how many values a parameter has."""
    if isinstance(parameter, ChoiceParameter):
        return len(parameter.choices)
    if isinstance(parameter, FloatParameter):
        return math.inf
    low, high = parameter.native_range
    return high.bit_length() - low.bit_length() + 1 if parameter.powers_of_two else high - low + 1


def _levels(parameter: Parameter, count: int) -> list[float]:
    """Return coordinates in the unit interval: the middles of equal parts; of one, the default.

    Choices have no order: the default comes first, then the others as they are listed.
    """
    default = parameter.to_unit(parameter.default)
    if count == 1:
        return [default]
    if isinstance(parameter, ChoiceParameter):
        others = [parameter.to_unit(choice) for choice in parameter.choices]
        return [default, *(unit for unit in others if unit != default)][:count]
    return [(index + 0.5) / count for index in range(count)]
