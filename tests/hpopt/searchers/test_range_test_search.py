"""Searches by the range test beyond its first trial: what follows, interruptions, what it needs."""

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.pool.local import LocalPool
from hpopt.record.history import FIRST_TEST
from hpopt.searchers import range_test
from hpopt.searchers.optuna_proposer import OptunaProposer
from hpopt.settings.study import Settings
from hpopt.study import opening
from hpopt.study.opening import begin
from hpopt_envs.records import Outcome, Trial
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import Value
from tests.hpopt.searchers.range_testing import MakePool, held, run
from tests.hpopt.searching import (
    Interrupt,
    events_of,
    final_of,
    outcome,
    resume,
    search,
    tear,
    told,
)

# ---- the later trials


@pytest.fixture
def proposers(monkeypatch: pytest.MonkeyPatch) -> list[OptunaProposer]:
    """Those that the searcher makes."""
    made: list[OptunaProposer] = []

    class Seen(OptunaProposer):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            made.append(self)

    monkeypatch.setattr(range_test, "OptunaProposer", Seen)
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_later_trials_are_tpes_around_the_rate_found(
    workers: int, make_pool: MakePool, proposers: list[OptunaProposer]
) -> None:
    pool = run(make_pool, trials=14, workers=workers, seed=3, trial_tokens=16384)
    _, second, *later = pool.trials
    found, (proposer,) = held(second), proposers
    assert len(later) >= 12
    assert all(found / 8.001 <= held(trial) <= found * 4.001 for trial in later)
    assert max(map(held, later)) / min(map(held, later)) > 2
    sizes = {trial.segments[0].hyperparameters["batch_size"] for trial in later}
    weights = {trial.segments[0].hyperparameters["divergence_weight"] for trial in later}
    assert len(sizes) > 1
    assert len(weights) > 2
    seen = proposer.study.get_trials(deepcopy=False)
    for ours, theirs in zip(pool.trials[1:], seen, strict=True):
        told_worse = theirs.value is not None and theirs.value > pool.facts.base_objective - 1
        assert theirs.value == ours.value or (ours.outcome is Outcome.EXPLODED and told_worse)
        assert theirs.params["learning_rate"] == pytest.approx(held(ours), rel=1e-5)


def test_another_seed_has_other_later_trials(make_pool: MakePool) -> None:
    rates = [
        [held(t) for t in run(make_pool, trials=6, trial_tokens=16384, seed=seed).trials[1:]]
        for seed in (1, 2)
    ]
    assert rates[0][:2] == rates[1][:2]
    assert rates[0][2:] != rates[1][2:]


def findings(trials: Sequence[Trial]) -> list[str]:
    """What trials came to, but for what the study had spent by then."""
    return [
        told(replace(trial, segments=tuple(replace(s, study_cost=0.0) for s in trial.segments)))
        for trial in trials
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_search_comes_to_what_it_would_have_come_to(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slots(factory: str, settings: dict[str, Any]) -> LocalPool:
        return LocalPool(factory, settings, workers)

    monkeypatch.setattr(opening, "LocalPool", slots)  # several workers in this process
    asked: dict[str, Any] = {"agent": "range-test", "trials": 4, "confirm_seeds": 1}
    whole = search(tmp_path / "whole", **asked)
    draw = random.Random(0)
    for count in range(2, len(events_of(whole)), 15):
        runs = tmp_path / str(count)
        with pytest.raises(KeyboardInterrupt):
            search(runs, Interrupt(count), **asked)
        tear(runs / "otter" / "journal.jsonl", draw)
        without = count % 2 == 0
        if without:
            shutil.rmtree(runs / "otter" / "snapshots")
        result = resume(runs)
        if without:  # what is trained again is paid for again
            assert findings(result.trials) == findings(whole.trials)
            assert final_of(result) == final_of(whole)
            assert result.cost >= whole.cost
        else:
            assert outcome(result) == outcome(whole)


def test_a_winner_that_rolled_back_is_run_again_on_its_path(tmp_path: Path) -> None:
    result = search(tmp_path, agent="range-test", trials=1, trial_tokens=65536, confirm_seeds=2)
    best = result.best
    assert best is not None
    assert len(best.path) < len(best.segments)
    assert result.final is not None
    assert sorted(result.history.tests)[0] == FIRST_TEST
    expected = [(dict(s.hyperparameters), s.tokens) for s in best.path]
    for trial in result.final.runs["trial 0"]:
        assert [(dict(s.hyperparameters), s.tokens) for s in trial.segments] == expected
        assert trial.path == trial.segments
        assert trial.value is not None
    for trial in result.final.runs["default"]:
        assert trial.trained_tokens == result.facts.trial_tokens


# ---- what it needs, and who is beside it


@pytest.mark.parametrize(
    "change",
    [{"dynamic": False}, {"log": False}, {"type": "choice", "choices": [1e-4, 1e-3]}],
)
def test_a_space_whose_learning_rate_cannot_move_is_refused_in_one_line(
    change: dict[str, Any], tmp_path: Path
) -> None:
    rate = {"type": "float", "log": True, "low": 1e-4, "high": 1e-1, "default": 1e-3}
    rate |= {"dynamic": True} | change
    if rate["type"] == "choice":
        rate = {"type": "choice", "choices": rate["choices"], "default": 1e-3}
    space = tmp_path / "still.toml"
    lines = [
        f"{name} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for name, v in rate.items()
    ]
    space.write_text(
        "\n".join(["[parameters.learning_rate]", *lines])
        + "\n[parameters.batch_size]\ntype = 'choice'\nchoices = [4, 8]\ndefault = 4\n"
    )
    asked = {"agent": "range-test", "task": "simulated", "space": str(space), "runs": tmp_path}
    with pytest.raises(StudyError, match="range-test needs a space with a learning_rate") as raised:
        begin(Settings.of({**asked, "runs": str(tmp_path / "runs"), "name": "still"}))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs" / "still").exists()


def test_the_default_alone_is_one_trial_of_the_default_configuration(tmp_path: Path) -> None:
    result = search(tmp_path, agent="default", trials=6, confirm_seeds=1)
    (trial,) = result.trials
    expected: dict[str, Value] = {**result.space.defaults(), **HELD_SHAPE}
    assert [dict(s.hyperparameters) for s in trial.segments] == [expected] * 4
    assert result.best == trial
    assert outcome(resume(tmp_path)) == outcome(result)


@pytest.mark.parametrize("agent", ["tpe", "random", "range-test"])
def test_the_space_of_schedules_is_searched(agent: str, tmp_path: Path) -> None:
    result = search(tmp_path, agent=agent, space="scheduled", trials=6, confirm_seeds=1)
    searched = [trial.segments[0].hyperparameters for trial in result.trials[3:]]
    assert len(searched) == 3
    for name in ("final_divergence_weight", "warmup_fraction", "schedule_shape"):
        assert all(name in values for values in searched)
    shaped = [values for values in searched if values["schedule_shape"] != "constant"]
    assert all("final_fraction" in values for values in shaped)
    assert len({values["final_divergence_weight"] for values in searched}) > 1
    assert result.best is not None
