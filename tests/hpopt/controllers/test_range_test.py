"""The controller alone, on curves that are written down: no host, no training."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt.controllers.protocol import Seen, Stretch
from hpopt.controllers.range_test import fewest_steps, plan_ramp, ramp_room, range_test
from hpopt_search_spaces import FloatParameter

RATE = FloatParameter("learning_rate", 0, 0, "auto", log=True, octaves=(-6, 5)).resolve(1e-3)
BASE = 4.0


def played(
    objective: Callable[[Stretch], float], steps: int = 200
) -> tuple[list[Stretch], list[Seen], float]:
    """What the controller asks for in a run of so many steps, what it sees, what it found."""
    decisions, taken = range_test(RATE, BASE, ramp_room(steps)), 0
    asked, seen = [next(decisions)], list[Seen]()
    while True:
        taken += asked[-1].steps
        left = (max(0, steps - taken),) * 5
        seen.append(Seen(objective(asked[-1]), asked[-1].last, left))
        try:
            asked.append(decisions.send(seen[-1]))
        except StopIteration as end:
            return asked, seen, end.value


def best_at(rate: float) -> Callable[[Stretch], float]:
    """A loss that falls up to a learning rate, and rises above it."""
    return lambda stretch: BASE - 1 + 0.2 * abs(math.log2(stretch.rate / rate))


@pytest.mark.parametrize("octaves", [-3, 0, 3])
def test_it_takes_the_rate_where_the_objective_is_lowest(octaves: int) -> None:
    lowest = RATE.default * 2.0**octaves
    asked, _, _ = played(best_at(lowest))
    ramp = [stretch for stretch in asked if stretch.in_ramp]
    first = asked[len(ramp)]
    assert ramp[-1].rate == pytest.approx(2 * lowest)  # 0.2 nats are more than 3% of 4
    assert first.roll_back
    assert first.rate == pytest.approx(0.9 * lowest)
    assert sum(stretch.steps for stretch in asked) == 200
    assert [stretch.last for stretch in asked] == [False] * (len(asked) - 1) + [True]


def test_where_nothing_rises_it_goes_on_where_it_is() -> None:
    asked, _, found = played(lambda stretch: BASE - 0.01)
    ramp = [stretch for stretch in asked if stretch.in_ramp]
    assert len(ramp) == 12
    assert not any(stretch.roll_back for stretch in asked)
    falling = [stretch.rate / RATE.high for stretch in asked[12:]]
    assert falling == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    assert found == RATE.high


def test_a_rise_in_the_decay_takes_a_third_off() -> None:
    asked, _, found = played(lambda s: 3.0 if s.in_ramp else 3.0 + 0.03 * BASE)
    decay = [stretch for stretch in asked if not stretch.in_ramp]
    assert [stretch.roll_back for stretch in decay] == [False, True, True, True, True]
    ratios = [
        s.rate / (RATE.high * f) for s, f in zip(decay, (0.9, 0.7, 0.5, 0.3, 0.1), strict=True)
    ]
    assert ratios == pytest.approx([1, 1 / 3, 1 / 9, 1 / 27, 1 / 81], rel=1e-5)
    assert found == pytest.approx(RATE.high / 81)


def test_the_guard_before_the_last_stretch_is_narrower() -> None:
    asked, _, _ = played(lambda s: 3.0 if s.in_ramp else 3.0 + 0.01 * BASE)
    assert [s.roll_back for s in asked if not s.in_ramp] == [False, False, False, False, True]


def test_an_explosion_at_once_leaves_the_low_end() -> None:
    asked, _, _ = played(lambda stretch: math.inf)
    assert {stretch.rate for stretch in asked} == {RATE.low}
    assert all(stretch.roll_back for stretch in asked[1:])


@given(st.lists(st.floats(1, 5), min_size=30, max_size=30), st.integers(24, 400))
def test_what_was_seen_leads_to_the_same_again(objectives: list[float], steps: int) -> None:
    values = iter(objectives)
    asked, seen, found = played(lambda stretch: next(values), steps)
    again = range_test(RATE, BASE, ramp_room(steps))
    assert [next(again), *(again.send(one) for one in seen[:-1])] == asked
    with pytest.raises(StopIteration) as end:
        again.send(seen[-1])
    assert end.value.value == found


@given(st.floats(0.5, 20))
def test_the_shortest_run_with_a_ramp_is_the_shortest(octaves: float) -> None:
    rate = FloatParameter("rate", 1e-4, 1e-4 * 2**octaves, 1e-4, log=True)
    fewest = fewest_steps(rate)
    rates = [learning_rate for learning_rate, _ in plan_ramp(rate, ramp_room(fewest))]
    assert rates[0] == pytest.approx(rate.low, rel=1e-4)
    assert rates[-1] == pytest.approx(rate.high, rel=1e-4)
    assert 4 ** (ramp_room(fewest - 1) - 1) < rate.high / rate.low * (1 + 1e-3)
