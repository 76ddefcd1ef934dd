"""Properties of the grid, whatever the space and the budget."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from hpopt.searchers.base import SearchPlan
from hpopt.searchers.default import ListProposer
from hpopt.searchers.grid import grid_counts, grid_points, points_in_order
from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    TrainingFacts,
    Value,
    load_space,
)

FACTS = TrainingFacts(10**6, 10**6, 2**16, 64, lora=False)
DEFAULT, FULL = (load_space(name).resolve(FACTS) for name in ("default", "full"))
SWITCHES = SearchSpace(
    "switches",
    (
        ChoiceParameter("optimizer", ("adamw", "sgd", "adagrad"), "sgd"),
        FloatParameter("weight_decay", 0.1, 0.3, 0.2, active_when={"optimizer": ("adamw",)}),
        IntegerParameter("layers", 1, 2, 1),
    ),
)
FINITE = SearchSpace("finite", (SWITCHES["optimizer"], SWITCHES["layers"]))
spaces = st.sampled_from([DEFAULT, FULL, SWITCHES, FINITE])
sizes = st.integers(1, 200)


def proposed(
    space: SearchSpace, trials: int, count: int, seed: int = 0, prior: str = "none"
) -> list[dict[str, Value]]:
    plan, known = SearchPlan("grid", "none", trials, seed, prior), [space.defaults()]
    grid = ListProposer(points_in_order(space, plan, known if prior == "default" else []))
    asked = [grid.ask() for _ in range(count)]
    return [dict(proposal.values) for proposal in asked if proposal is not None]


def identities(points: list[dict[str, Value]]) -> set[tuple[tuple[str, Value], ...]]:
    return {tuple(point.items()) for point in points}


@given(spaces, sizes)
def test_points_are_different_legal_and_fit_the_budget(space: SearchSpace, size: int) -> None:
    points = grid_points(space, size)
    assert 1 <= len(points) <= size
    assert len(identities(points)) == len(points)
    for point in points:
        assert space.snap(point) == point


@given(st.sampled_from([DEFAULT, FULL]), sizes)
def test_the_learning_rate_has_the_most_levels(space: SearchSpace, size: int) -> None:
    rate, *others = grid_counts(space, size)
    assert rate >= max(others)
    rest = math.prod(others)
    assert rest * rate <= size < rest * (rate + 1)  # not another level of it would fit


@given(spaces, st.integers(1, 60), st.integers(0, 5))
def test_the_order_is_the_seeds_and_the_default_comes_first(
    space: SearchSpace, trials: int, seed: int
) -> None:
    cold = proposed(space, trials, trials, seed)
    assert cold == proposed(space, trials, trials, seed)
    warm = proposed(space, trials, trials, seed, prior="default")
    assert warm[0] == space.defaults()
    assert len(identities(warm)) == len(warm)


@given(spaces, st.integers(1, 60))
def test_a_grid_that_is_used_up_is_followed_by_finer_ones(space: SearchSpace, trials: int) -> None:
    points = proposed(space, trials, 3 * trials)
    assert len(identities(points)) == len(points)
    assert len(points) == 3 * trials or space is FINITE
    first = identities(grid_points(space, trials))
    assert identities(points[: len(first)]) == first


def test_a_finite_space_is_enumerated_and_no_more() -> None:
    points = proposed(FINITE, 3, 100)
    expected = itertools.product(("sgd", "adamw", "adagrad"), (1, 2))
    assert identities(points) == {(("optimizer", o), ("layers", n)) for o, n in expected}
    assert len(points) == 6


def test_a_cut_off_grid_is_spread() -> None:
    points = grid_points(DEFAULT, 60)
    rates = {point["learning_rate"] for point in points}
    for seed in range(5):
        half = proposed(DEFAULT, 60, len(points) // 2, seed)
        assert {point["learning_rate"] for point in half} == rates
    assert proposed(DEFAULT, 60, 30, seed=0) != proposed(DEFAULT, 60, 30, seed=1)


def test_levels_span_the_range_and_every_batch_size_is_a_level() -> None:
    points = grid_points(DEFAULT, 1000)
    assert {point["batch_size"] for point in points} == {4, 8, 16, 32, 64}
    places = {DEFAULT["learning_rate"].to_unit(point["learning_rate"]) for point in points}
    assert min(places) < 0.1
    assert max(places) > 0.9
    assert any(point["divergence_weight"] == 0.0 for point in points)
