"""Properties of random search spaces, conditionals included."""

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    Parameter,
    SearchSpace,
    SpaceError,
    Value,
)

UNIT = st.floats(0, 1)


@st.composite
def float_parameters(draw: st.DrawFn, **common: Any) -> FloatParameter:
    log = draw(st.booleans())
    if log:
        low = 10 ** draw(st.floats(-12, 6))
        high = low * 10 ** draw(st.floats(0.01, 12))
    else:
        low = draw(st.floats(-1e6, 1e6))
        high = low + 10 ** draw(st.floats(-6, 7))
    zero = log and draw(st.booleans())
    assume(float(f"{low:.6g}") < float(f"{high:.6g}"))
    bare = FloatParameter(low=low, high=high, default=high, log=log, zero=zero, **common)
    return FloatParameter(
        low=low, high=high, default=bare.from_unit(draw(UNIT)), log=log, zero=zero, **common
    )


@st.composite
def integer_parameters(draw: st.DrawFn, **common: Any) -> IntegerParameter:
    scale = draw(st.sampled_from(["linear", "log", "powers_of_two"]))
    if scale == "powers_of_two":
        exponent = draw(st.integers(0, 12))
        low, high = 2**exponent, 2 ** (exponent + draw(st.integers(1, 12)))
    else:
        low = draw(st.integers(1 if scale == "log" else -(10**6), 10**6))
        high = low + draw(st.integers(1, 10**7))
    settings = {"low": low, "high": high} | common | ({} if scale == "linear" else {scale: True})
    bare = IntegerParameter(default=high, **settings)
    return IntegerParameter(default=bare.from_unit(draw(UNIT)), **settings)


@st.composite
def choice_parameters(draw: st.DrawFn, **common: Any) -> ChoiceParameter:
    numbers = st.floats(-1e9, 1e9)
    kind = draw(st.sampled_from([st.text(), st.integers(), numbers, st.booleans()]))
    choices = draw(st.lists(kind, min_size=2, max_size=6, unique=True))
    return ChoiceParameter(choices=tuple(choices), default=draw(st.sampled_from(choices)), **common)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """One to six parameters; a parameter may depend on any that come before it."""
    parameters: list[Parameter] = []
    for i in range(draw(st.integers(1, 6))):
        active_when = {}
        for parent in draw(st.lists(st.sampled_from(parameters), max_size=2)) if parameters else []:
            units = draw(st.lists(UNIT, min_size=1, max_size=3))
            active_when[parent.name] = tuple(parent.from_unit(u) for u in units)
        kind = draw(st.sampled_from([float_parameters, integer_parameters, choice_parameters]))
        common = {"name": f"p{i}", "dynamic": draw(st.booleans()), "active_when": active_when}
        parameters.append(draw(kind(**common)))
    return SearchSpace("random", tuple(parameters))


@st.composite
def spaces_and_points(draw: st.DrawFn) -> tuple[SearchSpace, list[float]]:
    space = draw(spaces())
    return space, [draw(UNIT) for _ in space.names]


def expected_active(space: SearchSpace, everything: dict[str, Value]) -> set[str]:
    """Which parameters are on, by recursion over the parents."""

    def is_on(name: str) -> bool:
        conditions = space[name].active_when.items()
        return all(is_on(parent) and everything[parent] in ok for parent, ok in conditions)

    return {name for name in space.names if is_on(name)}


@given(spaces_and_points())
def test_decoding_survives_the_way_to_the_cube_and_back(case: tuple[SearchSpace, list[float]]):
    space, point = case
    values = space.decode(point)
    assert space.decode(space.encode(values)) == values
    assert all(0 <= u <= 1 for u in space.encode(values))


@given(spaces_and_points())
def test_decoding_gives_legal_values_of_the_active_parameters(
    case: tuple[SearchSpace, list[float]],
):
    space, point = case
    values = space.decode(point)
    everything = {p.name: p.from_unit(u) for p, u in zip(space.parameters, point, strict=True)}
    active = expected_active(space, everything)
    assert values == {name: everything[name] for name in space.names if name in active}
    space.validate(values)
    for value in values.values():
        assert not isinstance(value, float) or isinstance(value, bool) or math.isfinite(value)


@given(spaces_and_points())
def test_an_inactive_parameter_is_encoded_as_its_default(case: tuple[SearchSpace, list[float]]):
    space, point = case
    values = space.decode(point)
    encoded = dict(zip(space.names, space.encode(values), strict=True))
    for name in set(space.names) - set(values):
        assert encoded[name] == space[name].to_unit(space[name].default)


@given(spaces_and_points())
def test_what_a_sampler_draws_natively_snaps_to_legal_values(
    case: tuple[SearchSpace, list[float]],
):
    space, point = case
    raw: dict[str, Value] = {}
    for parameter, u in zip(space.parameters, point, strict=True):
        if isinstance(parameter, ChoiceParameter):
            raw[parameter.name] = parameter.from_unit(u)
            continue
        low, high = parameter.native_range
        drawn = low * (high / low) ** u if low > 0 else low + u * (high - low)
        whole = isinstance(parameter, IntegerParameter)
        raw[parameter.name] = round(drawn) if whole else min(max(drawn, low), high)
    snapped = space.snap(raw)
    space.validate(snapped)
    assert space.snap(snapped) == snapped
    assert space.decode(space.encode(snapped)) == snapped


@given(spaces())
def test_json_carries_a_space_exactly(space: SearchSpace):
    carried = json.loads(json.dumps(space.to_dict()))
    assert carried == space.to_dict()
    back = SearchSpace.from_dict(carried)
    assert back == space
    assert back.fingerprint == space.fingerprint
    assert [type(p.default) for p in back.parameters] == [type(p.default) for p in space.parameters]


@given(spaces_and_points())
def test_new_defaults_are_what_the_space_then_starts_from(case: tuple[SearchSpace, list[float]]):
    space, point = case
    values = space.decode(point)
    changed = space.with_defaults(values)
    assert changed.defaults() == values
    assert changed.default_unit == space.encode(values)
    assert changed.names == space.names
    assert (changed.fingerprint == space.fingerprint) == (changed == space)


@given(spaces(), st.sampled_from([-0.1, 1.1, math.nan, math.inf]))
def test_a_point_outside_of_the_cube_is_refused(space: SearchSpace, coordinate: float):
    with pytest.raises(SpaceError, match=r"random: must be a point of \[0, 1\]\^"):
        space.decode([coordinate, *space.default_unit[1:]])
    with pytest.raises(SpaceError, match=r"random: must be a point of \[0, 1\]\^"):
        space.decode([*space.default_unit, 0.5])
