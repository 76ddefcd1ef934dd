"""What single parameters mean, against closed forms and brute force."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    SpaceError,
)

UNIT = st.floats(0, 1)
BETA = FloatParameter("divergence_weight", 0.01, 10.0, 0.1, log=True, zero=True)
BATCH = IntegerParameter("batch_size", 4, 64, 8, powers_of_two=True)


@given(UNIT)
def test_the_lowest_tenth_of_the_unit_interval_is_exactly_zero(unit: float):
    value = BETA.from_unit(unit)
    assert (value == 0.0) == (unit < 0.1)
    assert value == 0.0 or 0.01 <= value <= 10


def test_the_notch_lies_below_low_on_the_log_scale():
    assert BETA.to_unit(0.0) == 0.05
    assert BETA.to_unit(0.01) == pytest.approx(0.1)
    assert BETA.to_unit(10.0) == 1.0
    assert BETA.from_unit(0.1) == 0.01
    low, high = BETA.native_range
    assert high == 10.0
    assert math.log(0.01 / low) / math.log(high / low) == pytest.approx(0.1)


@given(UNIT)
def test_native_draws_and_the_unit_interval_agree(unit: float):
    low, high = BETA.native_range
    raw = low * (high / low) ** unit
    assert BETA.snap(raw) == pytest.approx(BETA.from_unit(unit), rel=2e-6) or abs(unit - 0.1) < 1e-9


@given(UNIT)
def test_floats_have_six_significant_digits(unit: float):
    value = FloatParameter("x", 1e-5, 1.0, 0.1, log=True).from_unit(unit)
    assert value == float(f"{value:.5e}")
    assert value == pytest.approx(1e-5 ** (1 - unit), rel=5.01e-6)


def test_bins_of_the_unit_interval_are_equal():
    grid = [(i + 0.5) / 1000 for i in range(1000)]
    assert Counter(map(BATCH.from_unit, grid)) == dict.fromkeys([4, 8, 16, 32, 64], 200)
    layers = IntegerParameter("layers", -1, 3, 0)
    assert Counter(map(layers.from_unit, grid)) == dict.fromkeys([-1, 0, 1, 2, 3], 200)
    shape = ChoiceParameter("shape", ("a", "b", "c", "d"), "a")
    assert Counter(map(shape.from_unit, grid)) == dict.fromkeys("abcd", 250)
    assert [BATCH.to_unit(2**i) for i in range(2, 7)] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert [shape.to_unit(c) for c in "abcd"] == [0.125, 0.375, 0.625, 0.875]
    assert (BATCH.from_unit(1.0), layers.from_unit(1.0), shape.from_unit(1.0)) == (64, 3, "d")


def test_integers_on_a_log_scale_have_bins_around_them():
    grid = [(i + 0.5) / 10_000 for i in range(10_000)]
    counts = Counter(map(IntegerParameter("n", 1, 8, 2, log=True).from_unit, grid))
    for n in range(1, 9):
        share = math.log((n + 0.5) / (n - 0.5)) / math.log(8.5 / 0.5)
        assert counts[n] == pytest.approx(10_000 * share, abs=1.5)


@given(st.floats(-16, -1))
def test_values_beside_zero_survive_the_way_through_the_unit_interval(exponent: float):
    parameter = FloatParameter("x", -0.7, 2.0, 0.5)
    value = parameter.snap(10**exponent)
    assert parameter.from_unit(parameter.to_unit(value)) == value
    assert value == pytest.approx(10**exponent, rel=5.01e-6, abs=2.8e-8)


@given(st.integers(4, 64))
def test_integers_snap_to_the_nearest_power_of_two(raw: int):
    assert BATCH.snap(raw) == min([4, 8, 16, 32, 64], key=lambda p: abs(math.log(p / raw)))


def test_snapping_brings_numbers_into_the_range():
    assert BATCH.snap(1000) == 64
    assert BATCH.snap(1) == 4
    assert IntegerParameter("n", 0, 10, 5).snap(7.6) == 8
    assert FloatParameter("x", -1.0, 1.0, 0.0).snap(0.123456789) == 0.123457
    assert FloatParameter("x", -1.0, 1.0, 0.0).snap(5) == 1.0


@pytest.mark.parametrize(
    "parameter",
    [
        FloatParameter("x", 1e-4, 1.0, 1e-2, log=True),
        BETA,
        IntegerParameter("n", 1, 4096, 256, log=True),
        BATCH,
    ],
)
def test_a_unit_step_is_an_octave(parameter: FloatParameter | IntegerParameter):
    here = parameter.to_unit(parameter.default)
    up, down = (parameter.from_unit(here + d * parameter.unit_step) for d in (1, -1))
    assert isinstance(parameter.default, float | int)
    assert up == pytest.approx(2 * parameter.default, rel=1e-5)
    assert down == pytest.approx(parameter.default / 2, rel=1e-5)


def test_a_unit_step_without_octaves_is_a_bin_or_an_eighth():
    assert FloatParameter("x", 0.0, 0.3, 0.0).unit_step == 1 / 8
    assert IntegerParameter("n", 0, 99, 50).unit_step == 1 / 8
    assert IntegerParameter("n", 0, 3, 1).unit_step == 1 / 4
    assert ChoiceParameter("c", (1, 2, 3), 1).unit_step == 1 / 3


def test_values_of_another_type_are_not_legal():
    assert not ChoiceParameter("c", (1, 2), 1).contains(True)
    assert not ChoiceParameter("c", (False, True), True).contains(1)
    assert not BATCH.contains(8.0)
    assert not BATCH.contains(12)
    assert not BETA.contains("0.1")
    assert not BETA.contains(math.nan)
    assert BETA.contains(1)
    assert BETA.contains(0)
    assert not BETA.contains(0.001)


@pytest.mark.parametrize("raw", [math.nan, math.inf, "8", True])
def test_what_is_no_number_cannot_be_snapped(raw: Any):
    for parameter in (BETA, BATCH):
        with pytest.raises(SpaceError, match=f"^{parameter.name}: must be a finite number"):
            parameter.snap(raw)


def test_parents_must_come_first_and_be_able_to_meet_the_condition():
    optimizer = ChoiceParameter("optimizer", ("adamw", "sgd"), "adamw")
    child = FloatParameter("momentum", 0.0, 1.0, 0.9, active_when={"optimizer": ("sgd",)})
    with pytest.raises(SpaceError, match="^momentum: a parameter in active_when must be one that"):
        SearchSpace("s", (child, optimizer))
    typo = FloatParameter("momentum", 0.0, 1.0, 0.9, active_when={"optimizer": ("sdg",)})
    with pytest.raises(SpaceError, match=r"^optimizer: must be one of \['adamw', 'sgd'\]"):
        SearchSpace("s", (optimizer, typo))
    with pytest.raises(SpaceError, match="^s: names must differ"):
        SearchSpace("s", (optimizer, optimizer))


def test_a_child_of_an_inactive_parameter_is_inactive():
    space = SearchSpace(
        "s",
        (
            ChoiceParameter("optimizer", ("adamw", "sgd"), "adamw"),
            ChoiceParameter("momentum", (True, False), True, active_when={"optimizer": ("sgd",)}),
            FloatParameter("rate", 0.0, 1.0, 0.9, active_when={"momentum": (True,)}),
        ),
    )
    assert space.defaults() == {"optimizer": "adamw"}
    on = {"optimizer": "sgd", "momentum": True, "rate": 0.9}
    assert space.snap({"optimizer": "sgd"}) == on
    assert space.encode({"optimizer": "adamw", "rate": 0.1})[2] == 0.9
    assert space.decode(space.encode(on)) == on


def test_the_order_of_conditions_makes_no_difference():
    parents = (BATCH, ChoiceParameter("optimizer", ("adamw", "sgd"), "adamw"))
    conditions = [("batch_size", (4, 8)), ("optimizer", ("sgd",))]
    one, other = (
        SearchSpace("s", (*parents, FloatParameter("x", 0.0, 1.0, 0.5, active_when=dict(order))))
        for order in (conditions, conditions[::-1])
    )
    assert one == other
    assert one.fingerprint == other.fingerprint


def test_unknown_names_are_answered_with_the_nearest():
    space = SearchSpace("s", (BETA, BATCH))
    for ask in (space.encode, space.snap, space.validate, space.with_defaults):
        with pytest.raises(SpaceError) as caught:
            ask({"bach_size": 8})
        assert str(caught.value) == "space 's' has no parameter 'bach_size' (nearest: batch_size)"
    with pytest.raises(SpaceError, match="^batch_size: must be a power of two between 4 and 64"):
        space.encode({"batch_size": 12})
    with pytest.raises(SpaceError, match="^divergence_weight: must be 0 or a number between"):
        space.with_defaults({"divergence_weight": 100.0})
