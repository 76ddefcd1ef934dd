"""A learning rate that begins elsewhere: default and range move together, and nothing else does."""

import dataclasses
from typing import Any

import pytest

from hpopt_envs import WorldError, make_env
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import FloatParameter, IntegerParameter, SearchSpace

RATE = FloatParameter("learning_rate", 1e-4, 1e-2, 1e-3, log=True, dynamic=True)
SIZE = IntegerParameter("batch_size", 4, 8, 4, powers_of_two=True)
WORLDS: list[dict[str, Any]] = [
    {"task": "simulated"},
    {"task": "simulated", "space": "full"},
    {"task": "simulated", "space": SearchSpace("fixed", (RATE, SIZE)).to_dict()},
    {"task": "nano:markov"},
    {"task": "tests.envs.tiny:Words", "trial_tokens": 4096, "segment_tokens": 1024},
]


@pytest.mark.parametrize("octaves", [2.0, -1.37])
@pytest.mark.parametrize("settings", WORLDS, ids=lambda settings: str(list(settings.values())[:2]))
def test_the_learning_rate_moves_and_nothing_else(settings: dict[str, Any], octaves: float) -> None:
    here, there = make_env(**settings), make_env(**settings, displacement=octaves)
    assert there.space.names == here.space.names
    for name in here.space.names:
        if name != "learning_rate":
            assert there.space[name] == here.space[name]
    before, after = here.space["learning_rate"], there.space["learning_rate"]
    assert isinstance(before, FloatParameter)
    assert isinstance(after, FloatParameter)
    for end in ("low", "high", "default"):
        moved = 2.0**octaves * getattr(before, end)
        assert getattr(after, end) == pytest.approx(moved, rel=1e-5)
    assert there.space.default_unit == pytest.approx(here.space.default_unit, abs=1e-5)
    # What is minimised, and what a trial costs, are the same.
    assert dataclasses.asdict(there.facts) == dataclasses.asdict(here.facts)


def test_a_configuration_comes_to_the_same_wherever_the_space_is() -> None:
    values = []
    for octaves in (0.0, 1.0):
        env = make_env("nano:markov", displacement=octaves)
        held = {**HELD_SHAPE, **env.facts.fixed, **make_env("nano:markov").space.defaults()}
        env.reset(seed=4)
        while "trial" not in (info := env.train(held)[4]):
            pass
        values.append(info["trial"].value)
    assert values[0] == values[1]


CHOICE = {"name": "learning_rate", "type": "choice", "choices": [1e-3, 1e-2], "default": 1e-3}
BATCH = {"name": "batch_size", "type": "choice", "choices": [4, 8], "default": 4}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"displacement": 31}, "must be 30 octaves at most, either way, but got 31"),
        ({"displacement": -1e300}, "must be 30 octaves at most, either way, but got -1e.300"),
        ({"displacement": "far"}, "must be a number, but got 'far'"),
        ({"displacement": float("nan")}, "must be a number, but got nan"),
        (
            {"displacement": 1.0, "fixed": {"learning_rate": 1e-3}},
            "must be left out where learning_rate is fixed",
        ),
        (
            {"displacement": 1.0, "space": {"name": "own", "parameters": [BATCH]}},
            "must go with a space that has a learning_rate of type float, but 'own' has none",
        ),
        (
            {"displacement": 1.0, "space": {"name": "own", "parameters": [CHOICE, BATCH]}},
            "must go with a space that has a learning_rate of type float, but 'own' has none",
        ),
    ],
)
def test_what_cannot_be_displaced_is_refused_in_one_line(
    settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(WorldError, match=f"^displacement: {line}$"):
        make_env("simulated", **settings)
