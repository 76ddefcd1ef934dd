"""Studies of nano tasks, by everything that studies of real ones go through."""

import random
from pathlib import Path

import pytest

from hpopt.testing import check_searcher, check_task
from hpopt_envs import Outcome
from tests.hpopt.searching import events_of, killed, outcome, resume, search, tear

NANO = {"task": "nano:templates:2", "trial_tokens": None}


@pytest.mark.parametrize("agent", ["tpe", "range-test", "learned", "ppo"])
def test_a_killed_study_goes_on_as_if_nothing_had_happened(agent: str, tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", agent=agent, **NANO)
    draw = random.Random(agent)
    for number in range(2):
        runs, count = tmp_path / str(number), draw.randrange(1, len(events_of(whole)))
        tear(killed(runs, count, agent=agent, **NANO), draw)
        assert outcome(resume(runs)) == outcome(whole)


def test_a_search_finds_what_is_better_than_the_base(tmp_path: Path) -> None:
    result = search(tmp_path, agent="tpe", **NANO)
    trials = result.history.trials.values()
    assert {trial.outcome for trial in trials} <= {Outcome.COMPLETED, Outcome.EXPLODED}
    assert result.best_value is not None
    assert result.best_value < result.history.facts.base_objective - 0.2


def test_parts_of_hpopt_keep_their_promises_on_one() -> None:
    check_task("nano:markov:1")
    check_searcher("random", task="nano:markov:1", workers=(1,))
