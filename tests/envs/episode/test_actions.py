"""The three views of an action, against the space's own native values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt_envs.episode.actions import ActionLayout, absolute_action, decode_actions
from hpopt_envs.records import Control
from hpopt_search_spaces import ChoiceParameter, FloatParameter, IntegerParameter, SearchSpace

SPACE = SearchSpace(
    "test",
    (
        FloatParameter("learning_rate", 1e-4, 1e-1, 1e-3, log=True, dynamic=True),
        ChoiceParameter("optimizer", ("adamw", "sgd"), "adamw"),
        IntegerParameter("batch_size", 4, 64, 8, powers_of_two=True, dynamic=True),
        FloatParameter("divergence_weight", 0.01, 10, 0.1, log=True, zero=True, dynamic=True),
    ),
)
LAYOUT = ActionLayout.of(SPACE)


def act(
    view: str, action: tuple[float, ...], unit: tuple[float, ...] | None = None, first: bool = True
) -> tuple[dict[str, object], Control]:
    here = np.array([SPACE.default_unit if unit is None else unit])
    moved, control = decode_actions(view, LAYOUT, here, np.array([action]), np.array([first]))
    return dict(SPACE.decode(moved[0])), Control(int(control[0]))


@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_absolute_actions_say_the_values(unit: tuple[float, ...]) -> None:
    values = SPACE.decode(unit)
    assert act("absolute", absolute_action(SPACE.encode(values))) == (values, Control.CONTINUE)


def test_static_hyperparameters_are_latched_at_the_first_segment() -> None:
    action = absolute_action(SPACE.encode({"optimizer": "sgd", "learning_rate": 0.01}))
    first, _ = act("absolute", action, first=True)
    later, _ = act("absolute", action, first=False)
    assert (first["optimizer"], later["optimizer"]) == ("sgd", "adamw")
    assert first["learning_rate"] == later["learning_rate"] == 0.01


@pytest.mark.parametrize("index", range(5))
def test_relative_moves_of_the_learning_rate_are_half_octaves(index: int) -> None:
    values, _ = act("relative", (index, 1, 1, 0))
    assert values["learning_rate"] == pytest.approx(1e-3 * 2 ** ((index - 2) / 2), rel=1e-5)
    assert (values["batch_size"], values["divergence_weight"]) == (8, 0.1)


def test_relative_moves_double_and_halve_the_others_and_reach_zero() -> None:
    values, control = act("relative", (2, 2, 0, Control.STOP.value))
    assert values["batch_size"] == 16
    assert values["divergence_weight"] == pytest.approx(0.05, rel=1e-5)
    assert control is Control.STOP
    at_low = SPACE.encode({**SPACE.defaults(), "divergence_weight": 0.01})
    assert act("relative", (2, 1, 0, 0), at_low)[0]["divergence_weight"] == 0.0


def test_moves_stop_at_the_edge_and_come_back_from_it() -> None:
    unit = SPACE.default_unit
    for _ in range(9):
        moved, _ = decode_actions(
            "relative", LAYOUT, np.array([unit]), np.array([[2, 2, 1, 0]]), np.array([True])
        )
        unit = tuple(moved[0])
    assert SPACE.decode(unit)["batch_size"] == 64
    assert act("relative", (2, 0, 1, 0), unit)[0]["batch_size"] == 32


def test_every_discrete_action_changes_one_thing() -> None:
    hold, control = act("discrete", (0,))
    assert (hold, control) == (SPACE.defaults(), Control.CONTINUE)
    changed = []
    for index in range(1, 7):
        values, control = act("discrete", (index,))
        assert control is Control.CONTINUE
        changed.append([name for name in values if values[name] != hold[name]])
    assert changed == [
        [n] for n in ("learning_rate", "batch_size", "divergence_weight") for _ in "du"
    ]
    assert act("discrete", (7,)) == (hold, Control.STOP)


@pytest.mark.parametrize("control", Control)
def test_every_view_can_ask_for_every_control(control: Control) -> None:
    held = dict(SPACE.defaults())
    assert act("relative", (2, 1, 1, control.value)) == (held, control)
    discrete = 6 + control.value if control.value else 0
    assert act("discrete", (discrete,)) == (held, control)
    assert act("absolute", absolute_action(SPACE.default_unit, control)) == (held, control)


def test_absolute_control_coordinate_round_trips_and_mostly_continues() -> None:
    assert act("absolute", absolute_action(SPACE.default_unit, Control.STOP))[1] is Control.STOP
    draws = np.clip(np.random.default_rng(0).normal(size=2000), -1, 1)
    stops = [act("absolute", (0, 0, 0, 0, draw))[1] is Control.STOP for draw in draws]
    assert np.mean(stops) < 0.05
