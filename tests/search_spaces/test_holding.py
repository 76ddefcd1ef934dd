"""Parameters that are held leave the space, and what hangs on them is settled."""

import itertools

import pytest

from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    SearchSpace,
    SpaceError,
    TrainingFacts,
    Value,
    available_spaces,
    load_space,
)

RATE = FloatParameter("rate", 1e-4, 1e-2, 1e-3, log=True)
KIND = ChoiceParameter("kind", ("a", "b", "c"), "a")
ALPHA = FloatParameter("alpha", 0.0, 1.0, 0.5, active_when={"kind": ("b", "c")})
DEEP = ChoiceParameter("deep", (1, 2), 1, active_when={"alpha": (0.5,), "kind": ("b",)})
SPACE = SearchSpace("own", (RATE, KIND, ALPHA, DEEP))
POINTS = list(itertools.product((0.0, 0.5, 1.0), repeat=4))


@pytest.mark.parametrize(
    "held",
    [{}, {"kind": "a"}, {"kind": "b"}, {"kind": "c", "rate": 0.005}, {"alpha": 0.5}, {"other": 3}],
)
def test_what_is_left_is_what_the_whole_space_has_at_these_values(held: dict[str, Value]) -> None:
    smaller = SPACE.holding(held)
    assert not set(smaller.names) & set(held)
    # Brute force: each configuration of the whole space that has the values, without them.
    wanted = set()
    for point in POINTS:
        values = SPACE.snap(
            {**SPACE.decode(point), **{n: v for n, v in held.items() if n in SPACE}}
        )
        wanted.add(tuple((n, v) for n, v in values.items() if n not in held))
    found = {
        tuple(
            smaller.decode([u for n, u in zip(SPACE.names, p, strict=True) if n in smaller]).items()
        )
        for p in POINTS
    }
    assert found == wanted


def test_what_a_space_has_fixed_goes_with_it_and_gives_way() -> None:
    space = SearchSpace("own", (RATE, KIND), {"optimizer": "prodigy", "dropout": 0.1})
    assert space.fixed == SearchSpace.from_dict(space.to_dict()).fixed
    assert SearchSpace.from_dict(space.to_dict()) == space
    assert space.fingerprint != SearchSpace("own", (RATE, KIND)).fingerprint
    assert "fixed" not in SearchSpace("own", (RATE, KIND)).to_dict()  # as journals have it
    smaller = space.holding({"dropout": 0.2, "kind": "a"})
    assert (smaller.names, smaller.fixed) == (("rate",), {"optimizer": "prodigy"})
    assert space.with_defaults({"kind": "b"}).fixed == space.fixed


def test_something_must_be_left() -> None:
    with pytest.raises(SpaceError, match="must have a parameter to search, but all are held"):
        SearchSpace("own", (RATE, KIND, ALPHA)).holding({"rate": 0.01, "kind": "a"})


def test_a_rule_s_default_that_a_fixed_range_lacks_is_told() -> None:
    facts = TrainingFacts(560_000, 560_000, 65_536, 64, lora=False)
    rule = load_space("default").resolve(facts).defaults()["learning_rate"]
    for low, high in ((rule * 2, rule * 4), (rule / 4, rule / 2)):
        narrow = FloatParameter("learning_rate", low, high, "auto", log=True)
        assert SearchSpace("own", (narrow,)).clipped(facts) == {"learning_rate": rule}
    wide = FloatParameter("learning_rate", rule / 2, rule * 2, "auto", log=True)
    assert SearchSpace("own", (wide,)).clipped(facts) == {}
    for name, _ in available_spaces():
        assert load_space(name).clipped(facts) == {}
