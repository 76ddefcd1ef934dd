"""Configurations that go from tasks to another one, on scripted studies."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpopt.errors import StudyError
from hpopt.record.history import History
from hpopt.searchers.portfolio import greedy_order, make_portfolio, transfer
from hpopt_envs.records import Outcome
from hpopt_search_spaces import SearchSpace, Value
from tests.hpopt.searchers.portfolios import Tried, resolved, scripted

NewStudy = Callable[..., History]


@pytest.fixture
def new_study(new_script: Callable[..., Any]) -> NewStudy:
    """Scripts an ended study: its task, its space, and the values of its configurations."""

    def study(
        task: str, space: SearchSpace, tried: Tried, divergences: Sequence[float] = (), **facts: Any
    ) -> History:
        history = History()
        for event in scripted(new_script(task=task, **facts), task, space, tried, divergences):
            history.apply(event)
        return history

    return study


def test_the_order_is_the_best_of_all_orders() -> None:
    """Greedy is the first of all permutations by (reached, mean, index) of one after the other."""
    draw = random.Random(0)
    for _ in range(20):
        # Sixteenths, so that there are ties, and sums are exact.
        regrets = [[draw.randint(0, 16) / 16 for _ in range(5)] for _ in range(3)]

        def ranks(order: tuple[int, ...], table: list[list[float]] = regrets) -> list[Any]:
            keys: list[Any] = []
            for length, index in enumerate(order, start=1):
                reached = sum(min(task[i] for i in order[:length]) for task in table)
                keys.append((reached, sum(task[index] for task in table), index))
            return keys

        expected = min(itertools.permutations(range(5)), key=ranks)
        assert greedy_order(np.array(regrets), 5) == list(expected)
        assert greedy_order(np.array(regrets), 3) == list(expected[:3])
        led = min((o for o in itertools.permutations(range(5)) if o[0] == 4), key=ranks)
        assert greedy_order(np.array(regrets), 9, first=[4]) == list(led)


def test_the_first_few_cover_tasks_that_want_different_things(new_study: NewStudy) -> None:
    """On one grid: two tasks whose bests lie apart, and a compromise that's good on neither."""
    space = resolved()
    grid = [space.decode([place / 10, 0.5, 0.5]) for place in range(11)]

    def study(task: str, best: int) -> History:
        return new_study(
            task, space, [(v, 2.0 + min(2, abs(i - best))) for i, v in enumerate(grid)]
        )

    order = make_portfolio([study("a", 2), study("b", 8)], "c", space, 99, prior="none")
    assert sorted(map(str, order[:2])) == sorted(map(str, (grid[2], grid[8])))
    assert sorted(map(str, order)) == sorted(map(str, [*grid, space.defaults()]))


def test_a_learning_rate_goes_over_relative_to_the_default(new_study: NewStudy) -> None:
    small, large = resolved(parameters=10**6), resolved(parameters=10**9)
    default = small.defaults()
    rates = {factor: float(default["learning_rate"]) * factor for factor in (0.25, 1.0, 4.0, 16.0)}
    value = {0.25: 3.5, 1.0: 3.0, 4.0: 2.0, 16.0: 4.0}
    tried = [(default | {"learning_rate": rates[f]}, value[f]) for f in rates]
    first = make_portfolio([new_study("a", small, tried)], "b", large, 1, prior="none")[0]
    assert first["learning_rate"] == pytest.approx(4 * float(large.defaults()["learning_rate"]))
    assert first == large.defaults() | {"learning_rate": first["learning_rate"]}


def test_the_default_comes_first_with_the_prior_alone(new_study: NewStudy) -> None:
    space = resolved()
    good, bad = space.decode([0.2, 0.5, 0.5]), space.decode([0.9, 0.5, 0.5])
    study = new_study("a", space, [(bad, 3.9), (good, 2.0), (space.defaults(), 3.8)])
    with_prior = make_portfolio([study], "b", space, 3)
    assert with_prior == [space.defaults(), good, bad]
    assert make_portfolio([study], "b", space, 2, prior="none")[0] == good


def space_of(*parameters: dict[str, Any]) -> SearchSpace:
    return SearchSpace.from_dict({"name": "small", "parameters": list(parameters)})


def test_choices_keep_their_value_and_conditions_hold() -> None:
    rate = {"name": "rate", "type": "float", "log": True, "low": 1e-4, "high": 1e-2}
    momentum = {"name": "momentum", "type": "float", "low": 0.0, "high": 1.0, "default": 0.5}
    momentum["active_when"] = {"optimizer": ["sgd"]}
    optimizer = {"name": "optimizer", "type": "choice", "default": "adamw"}
    decay = {"name": "decay", "type": "float", "low": 0.0, "high": 1.0, "default": 0.5}
    source = space_of(
        rate | {"default": 1e-3},
        optimizer | {"choices": ["adamw", "lion", "sgd"]},
        momentum,
    )
    target = space_of(
        decay,  # that the source lacks
        optimizer | {"choices": ["sgd", "adamw"]},
        momentum,
    )

    def moved(**values: Value) -> dict[str, Value]:
        return transfer(source.snap(values), source, target)

    sgd = moved(rate=5e-3, optimizer="sgd", momentum=0.9)
    assert sgd == {"decay": 0.5, "optimizer": "sgd", "momentum": 0.9}
    assert moved(optimizer="adamw") == {"decay": 0.5, "optimizer": "adamw"}
    assert moved(optimizer="lion") == target.defaults()  # that the target lacks
    back = transfer({"optimizer": "sgd", "momentum": 0.25, "decay": 0.1}, target, source)
    assert back == {"rate": 1e-3, "optimizer": "sgd", "momentum": 0.25}


def test_zero_stays_zero_and_what_is_above_it_stays_above() -> None:
    def weight(low: float, zero: bool) -> SearchSpace:
        table = {"name": "weight", "type": "float", "log": True, "low": low, "high": 10.0}
        return space_of(table | {"zero": zero, "default": 1.0})

    wide, narrow, without = weight(1e-6, True), weight(0.1, True), weight(0.1, False)
    for source, target in ((wide, narrow), (narrow, wide)):
        assert transfer({"weight": 0.0}, source, target) == {"weight": 0.0}
        low = source["weight"].low  # type: ignore[union-attr]
        for value in (low, 1.0, 10.0):
            assert transfer({"weight": value}, source, target)["weight"] > 0
    assert transfer({"weight": 0.0}, wide, without) == {"weight": 0.1}
    assert transfer({"weight": 0.1}, without, wide)["weight"] > 0


def test_what_differs_by_rounding_is_tried_once(new_study: NewStudy) -> None:
    """The middle of one range at four digits is the middle of another one, nearly."""

    def middle(low: float, high: float) -> SearchSpace:
        table = {"name": "rate", "type": "float", "log": True, "low": low, "high": high}
        return space_of(table | {"default": float(f"{(low * high) ** 0.5:.4g}")})

    source, target = middle(1e-4, 3e-2), middle(2e-5, 7e-3)
    moved = transfer(source.defaults(), source, target)
    assert moved["rate"] != target.defaults()["rate"]
    study = new_study("a", source, [(source.defaults(), 3.0)])
    assert make_portfolio([study], "b", target, 9) == [target.defaults()]


def test_what_broke_the_limit_or_failed_counts_as_the_base_model(new_study: NewStudy) -> None:
    space = resolved()
    best, good = (space.decode([place, 0.5, 0.5]) for place in (0.1, 0.9))
    tried = [(best, 1.0), (good, 3.0), (space.defaults(), 3.9)]
    free = make_portfolio([new_study("a", space, tried)], "b", space, 1, prior="none")
    limited = new_study("a", space, tried, divergences=[0.9, 0.1, 0.1], max_divergence=0.5)
    held = make_portfolio([limited], "b", space, 1, prior="none")
    exploded = new_study("a", space, tried)
    exploded.trials[0] = replace(exploded.trials[0], outcome=Outcome.EXPLODED, value=None)
    sound = make_portfolio([exploded], "b", space, 1, prior="none")
    assert (free, held, sound) == ([best], [good], [good])


def test_trials_that_changed_inside_are_left_out(new_study: NewStudy) -> None:
    space = resolved()
    low, high = space.decode([0.3, 0.5, 0.5]), space.decode([0.7, 0.5, 0.5])
    study = new_study("a", space, [(low, 3.0), (high, 2.0)])
    start, *later = study.trials[1].segments
    moved = (replace(start, hyperparameters=space.decode([0.65, 0.5, 0.5])), *later)
    study.trials[1] = replace(study.trials[1], segments=moved)
    assert make_portfolio([study], "b", space, 9) == [space.defaults(), low]
    del study.trials[0]
    with pytest.raises(StudyError, match=r"that held a configuration, but 'of-a' has none"):
        make_portfolio([study], "b", space, 9)


def test_the_task_that_is_searched_is_refused(new_study: NewStudy) -> None:
    space = resolved()
    studies = [new_study(task, space, [(space.defaults(), 3.0)]) for task in ("classify", "lm")]
    with pytest.raises(StudyError, match=r"studies of other tasks, but 'of-lm' is of 'lm' too"):
        make_portfolio(studies, "lm", space, 4)


def test_studies_of_a_task_are_pooled(new_study: NewStudy) -> None:
    """The best of a poor study isn't as good as its own regret would have it."""
    space = resolved()
    poor, rich = space.decode([0.1, 0.5, 0.5]), space.decode([0.9, 0.5, 0.5])
    studies = [
        new_study("a", space, [(poor, 3.9), (space.defaults(), 3.95)]),
        new_study("a", space, [(rich, 2.0), (space.defaults(), 3.95)]),
    ]
    assert make_portfolio(studies, "b", space, 1, prior="none") == [rich]
