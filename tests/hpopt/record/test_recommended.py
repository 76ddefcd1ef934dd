"""What a recommendation is worth, beside what would be used without it."""

from collections.abc import Callable
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.record.history import History
from hpopt.record.recommended import Recommended


def recommended(script: Any) -> Recommended:
    history = History()
    for event in script.events:
        history.apply(event)
    return Recommended.of(history, "test")


def test_without_a_final_it_is_the_search_s_winner(new_script: Callable[..., Any]) -> None:
    script = new_script(base_objective=3.0)
    script.trial(0, 3.5, 3.25)
    found = recommended(script)
    assert (found.value, found.base_value, found.gains) == (3.25, 3.0, False)
    assert found.default_value is found.test_value is None


def test_with_one_values_are_means_over_its_seeds(new_script: Callable[..., Any]) -> None:
    script = new_script()
    script.trial(0, 3.5, 3.25)
    script.final({"default": [3.5, 3.75], "trial 0": [2.5, 2.25]})
    found = recommended(script)
    assert found.name == "trial 0"
    assert (found.value, found.default_value, found.test_value) == (2.375, 3.625, 2.625)
    assert found.gains


def test_more_is_better_where_the_objective_is_maximised(new_script: Callable[..., Any]) -> None:
    script = new_script(maximize=True, base_objective=-0.5)
    script.trial(0, -0.25, -0.75)
    found = recommended(script)
    assert (found.value, found.base_value, found.gains) == (0.75, 0.5, True)


def test_a_limit_that_nothing_kept_is_named(new_script: Callable[..., Any]) -> None:
    script = new_script(max_divergence=0.5)
    script.trial(0, 3.5, 3.25, divergence=0.75)
    with pytest.raises(StudyError, match="divergence ≤ 0.5 nats; a higher --max-divergence, or"):
        recommended(script)
