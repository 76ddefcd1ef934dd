"""What a user is told to do next follows from the study's own figures."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from hpopt.record.history import History
from hpopt.report.advice import advice
from hpopt_search_spaces import SearchSpace


@pytest.fixture
def advised(new_script: Callable[..., Any], space: SearchSpace) -> Callable[..., list[str]]:
    """Returns the advice on a study whose trials held these values, the first one the best."""

    def told(
        *held: Mapping[str, Any],
        values: tuple[float, ...] | None = None,
        final: Mapping[str, tuple[float, ...]] | None = None,
    ) -> list[str]:
        script = new_script()
        for trial, others in enumerate(held):
            script.start(trial)
            value = 2.0 + trial / 4 if values is None else values[trial]
            hyperparameters = {**space.defaults(), **others}
            ends = {"outcome": "completed", "value": value}
            script.segment(trial, 0, value, of={"hyperparameters": hyperparameters}, **ends)
        script.final(final or {})
        history = History()
        for event in script.events:
            history.apply(event)
        return advice(history)

    return told


MANY = [{"learning_rate": 0.01 * 1.1**k} for k in range(1, 8)]


@pytest.mark.parametrize(
    ("held", "which", "line"),
    [
        ({"batch_size": 64}, "highest", "`high = 256`"),
        ({"batch_size": 4, "learning_rate": 0.01}, "lowest", "`low = 1`"),
        ({"divergence_weight": 10.0, "batch_size": 8}, "highest", "`high = 40`"),
    ],
)
def test_a_value_at_the_end_of_its_range_comes_with_the_line_that_widens_it(
    advised: Callable[..., list[str]], held: dict[str, Any], which: str, line: str
) -> None:
    (told,) = [t for t in advised(held, *MANY) if "of its range" in t]
    name = "divergence_weight" if "divergence_weight" in held else "batch_size"
    assert told.startswith(f"The recommended {name}, ")
    assert f"is the {which} of its range" in told
    assert f"[parameters.{name}] takes {line}" in told


def test_inside_the_ranges_with_enough_trials_nothing_is_said(
    advised: Callable[..., list[str]],
) -> None:
    held = [{"batch_size": 16, "learning_rate": 0.01 * 1.1**k} for k in range(8)]
    assert advised(*held) == []


def test_trials_that_repeat_others_are_named(advised: Callable[..., list[str]]) -> None:
    same = {"batch_size": 16, "learning_rate": 0.02}
    (told,) = [t for t in advised(same, *MANY, same) if "was trained as" in t]
    assert told.startswith("trial 8 was trained as trial 0: ")


def test_few_trials_are_called_few(advised: Callable[..., list[str]]) -> None:
    (told,) = [t for t in advised({"batch_size": 16}, *MANY[:2]) if "few" in t]
    assert told.startswith("3 trials for 3 hyperparameters are few; `--trials 12` sees more")


def test_trials_that_chance_tells_apart_should_be_longer(advised: Callable[..., list[str]]) -> None:
    values = tuple(2.0 + 0.01 * k for k in range(8))
    loud = {"default": (2.1, 2.0, 2.2, 1.9), "trial 0": (2.0, 2.2, 2.1, 2.3)}
    quiet = {"default": (2.100, 2.101, 2.1, 2.1), "trial 0": (2.0, 2.001, 2.001, 2.0)}
    held = [{"batch_size": 16, "learning_rate": 0.01 * 1.1**k} for k in range(8)]
    (told,) = [t for t in advised(*held, values=values, final=loud) if "chance" in t]
    assert told.startswith("Trials differ by little more than chance")
    assert "`--trial-tokens 65536` makes them four times as long" in told
    assert advised(*held, values=values, final=quiet) == []


@pytest.mark.parametrize("held", [{"divergence_weight": 0.0}, {"batch_size": 16}])
def test_a_weight_that_is_off_and_what_lies_inside_need_no_wider_range(
    advised: Callable[..., list[str]], held: dict[str, Any]
) -> None:
    assert advised({"batch_size": 16, **held}, *MANY) == []


@pytest.mark.parametrize(
    ("parameter", "value", "line"),
    [
        ({"type": "integer", "log": True, "low": 1, "high": 8, "default": 2}, 1, None),
        ({"type": "integer", "log": True, "low": 2, "high": 8, "default": 2}, 2, "`low = 1`"),
        ({"type": "integer", "log": True, "low": 1, "high": 8, "default": 2}, 8, "`high = 32`"),
        ({"type": "float", "low": 0.0, "high": 1.0, "default": 0.5}, 0.0, None),
        ({"type": "float", "low": 0.0, "high": 1.0, "default": 0.5}, 1.0, None),
    ],
)
def test_whole_numbers_stay_whole_and_fractions_are_left_alone(
    new_script: Callable[..., Any], parameter: dict[str, Any], value: float, line: str | None
) -> None:
    space = {"name": "own", "parameters": [{"name": "dial", **parameter}]}
    script, history = new_script(), History()
    script.events[0] |= {"space": space}
    for trial in range(2):
        script.start(trial)
        of = {"hyperparameters": {"dial": value if trial == 0 else parameter["default"]}}
        script.segment(trial, 0, 2.0 + trial, of=of, outcome="completed", value=2.0 + trial)
    for event in script.events:
        history.apply(event)
    told = [t for t in advice(history) if "of its range" in t]
    assert len(told) == (line is not None)
    assert all(line in t for t in told if line is not None)
