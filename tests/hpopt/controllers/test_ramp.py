"""The ramp of learning rates within a first trial: its range, its steps, where it begins."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt.controllers.range_test import plan_ramp
from hpopt_search_spaces import FloatParameter


@st.composite
def ranges(draw: st.DrawFn) -> FloatParameter:
    low = 10 ** draw(st.floats(-7, -2))
    high = low * 2 ** draw(st.floats(0.1, 20))
    default = low * (high / low) ** draw(st.floats(0, 1))
    default = min(max(default, float(f"{low:.6g}")), float(f"{high:.6g}"))
    return FloatParameter("learning_rate", low, high, default, log=True, dynamic=True)


@given(ranges(), st.integers(-1, 60))
def test_a_ramp_rises_within_its_range_and_its_steps(rate: FloatParameter, allowed: int) -> None:
    ramp = plan_ramp(rate, allowed)
    rates = [learning_rate for learning_rate, _ in ramp]
    factors = [after / before for before, after in pairwise(rates)]
    slack = 1 + 1e-3  # ends of ranges are rounded
    assert sum(steps for _, steps in ramp) <= max(1, allowed)
    assert all(steps >= 1 for _, steps in ramp)
    assert all(1.0 < factor <= 4.0 * slack for factor in factors)
    assert rate.low / slack <= rates[0] <= float(rate.default) * slack
    assert rates[-1] <= rate.high * slack
    ends_at_the_top = rates[-1] >= rate.high / slack
    needed = math.ceil(math.log2(rate.high / rate.low) - 1e-3)  # doublings
    if allowed > needed:  # at least a step a doubling, from one end to the other
        assert ends_at_the_top
        assert rates[0] <= rate.low * slack
        assert all(factor <= 2.0 * slack for factor in factors)
    if allowed >= 2 * (needed + 1):
        assert all(steps == 2 for _, steps in ramp)
    if not ends_at_the_top:  # from the default on, and as steeply as is allowed
        assert rates[0] == pytest.approx(rate.default)
        assert all(factor == pytest.approx(4.0) for factor in factors)
        assert len(ramp) == max(1, allowed)


@given(st.integers(10, 99), st.integers(-6, -2))
def test_a_range_in_octaves_takes_a_doubling_an_octave(digits: int, exponent: int) -> None:
    octaves = FloatParameter("learning_rate", 0, 0, "auto", log=True, octaves=(-6, 5))
    rate = octaves.resolve(float(f"{digits}e{exponent}"))
    assert [steps for _, steps in plan_ramp(rate, 24)] == [2] * 12
    assert [steps for _, steps in plan_ramp(rate, 23)] == [1] * 12


def test_a_ramp_without_room_begins_nearer_to_the_default() -> None:
    rate = FloatParameter("learning_rate", 1e-5, 1e-1, 1e-3, log=True)
    assert [r for r, _ in plan_ramp(rate, 8)] == pytest.approx(
        [1e-5 * 10 ** (4 * k / 7) for k in range(8)]
    )
    assert [r for r, _ in plan_ramp(rate, 5)] == pytest.approx([0.1 / 4**k for k in range(5)][::-1])
    assert [r for r, _ in plan_ramp(rate, 3)] == pytest.approx([1e-3, 4e-3, 16e-3])
    assert [plan_ramp(rate, steps) for steps in (1, 0)] == [[(1e-3, 1)]] * 2
