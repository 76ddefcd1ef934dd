"""What `reset` and `step` are given and can't take: one line says what must hold."""

from typing import Any

import numpy as np
import pytest

from hpopt_envs import WorldError, make_env
from hpopt_envs.schedules import AGENT_SHAPE

FOUR = "4 whole numbers from 0, each below its own of 5 3 3 4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trail": 3}, r"options: a trial has no option 'trail' \(nearest: trial\)"),
        (["trial"], r"options: must be a dictionary, but got \['trial'\]"),
        ({"trial": "3"}, "options: trial must be an id from 0, but got '3'"),
        ({"test": 1}, "options: test must be true or false, but got 1"),
        ({"study": {}}, "options: study must be StudyFacts, but got {}"),
        (
            {"initial": (0.5, 0.5)},
            "options: initial must be 3 numbers from 0 to 1, one for each",
        ),
        ({"initial": (0.5, 0.5, 2.0)}, "options: initial must be 3 numbers from 0 to 1"),
        ({"initial": "middle"}, "options: initial must be 3 numbers from 0 to 1"),
        ({"fixed": "sgd"}, "options: fixed must be a dictionary of hyperparameters, but got 'sgd'"),
        ({"fixed": {"droput": 0.1}}, r"options: training has no hyperparameter 'droput' \(nearest"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(options: Any, message: str) -> None:
    made = make_env("simulated")
    with pytest.raises(WorldError, match=f"^{message}[^\n]*$"):
        made.reset(seed=0, options=options)


def test_options_that_say_nothing_are_defaults() -> None:
    made = make_env("simulated", view="relative")
    for options in (None, {}, {"initial": None, "fixed": None}):
        made.reset(seed=0, options=options)
        assert made.step([2, 1, 1, 0])[4]["segment"].hyperparameters == {
            **made.space.defaults(),
            **AGENT_SHAPE,
        }


@pytest.mark.parametrize(
    ("view", "action", "message"),
    [
        ("discrete", 99, "a whole number from 0, below 10, but got 99"),
        ("discrete", -1, "a whole number from 0, below 10, but got -1"),
        ("discrete", 0.5, "a whole number from 0, below 10, but got 0.5"),
        ("discrete", [0, 0], "a whole number from 0, below 10, but got"),
        ("relative", [2, 1, 1], f"{FOUR}, but got"),
        (
            "relative",
            [5, 1, 1, 0],
            "4 whole numbers from 0, each below its own of 5 3 3 4, but got",
        ),
        ("relative", "up", f"{FOUR}, but got 'up'"),
        ("absolute", [0.0, 0.0, 0.0], "4 numbers from -1 to 1, but got"),
        ("absolute", [0.0, 0.0, 0.0, np.nan], "4 numbers from -1 to 1, but got"),
        ("absolute", None, "4 numbers from -1 to 1, but got None"),
    ],
)
def test_what_is_no_action_is_refused_in_one_line(view: str, action: Any, message: str) -> None:
    made = make_env("simulated", view=view)
    made.reset(seed=0)
    with pytest.raises(WorldError, match=f"^action: must be {message}[^\n]*$"):
        made.step(action)
    assert made.trial.segments == ()
