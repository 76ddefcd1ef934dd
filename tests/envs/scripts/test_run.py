"""An environment over a user's own script, without a study."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hpopt_envs import FineTuneEnv, Outcome, WorldError, make_env
from tests.hpopt.commands import SPACE, write_script

VALUES = {"learning_rate": 1e-3, "batch_size": 8}


@pytest.fixture
def env(tmp_path: Path) -> Any:
    (tmp_path / "space.toml").write_text(SPACE)
    script = {"command": write_script(tmp_path), "value": "eval_loss"}
    place = {"space": str(tmp_path / "space.toml"), "folder": str(tmp_path / "trials")}
    with make_env("script", script=script, **place) as made:
        yield made


def test_a_segment_ends_with_a_report_and_the_trial_with_the_process(env: FineTuneEnv) -> None:
    env.reset(seed=3, options={"trial": 7})
    ended = [env.train(VALUES)[2] for _ in range(4)]
    assert ended == [False, False, False, True]
    assert env.trial.outcome is Outcome.COMPLETED
    assert [segment.tokens for segment in env.trial.segments] == [1, 1, 1, 0]
    with pytest.raises(WorldError, match="the trial has ended"):
        env.train(VALUES)


def test_a_whole_run_is_one_segment(env: FineTuneEnv) -> None:
    env.reset(seed=3)
    *_, ended, _, info = env.train(VALUES, tokens=env.facts.trial_tokens)
    assert ended
    assert len(info["trial"].segments) == 1


def test_hyperparameters_stay_as_they_are(env: FineTuneEnv) -> None:
    env.reset(seed=3)
    env.train(VALUES)
    with pytest.raises(WorldError, match="can't change during a trial"):
        env.train(VALUES | {"learning_rate": 1e-2})


def test_a_try_has_a_folder_of_its_own(env: FineTuneEnv, tmp_path: Path) -> None:
    for number in range(3):
        env.reset(seed=3, options={"trial": 7})
        env.train(VALUES)
        (place,) = (tmp_path / "trials").iterdir()
        assert place.name == ("trial-0000007-2" if number == 1 else "trial-0000007")
        said = (place / "reports.jsonl").read_text().splitlines()
        assert json.loads(said[0])["step"] == 0


def test_a_script_of_a_task_that_trains_by_itself_is_refused() -> None:
    with pytest.raises(WorldError, match="command: must be left out for task 'simulated'"):
        make_env("simulated", script={"command": f"{sys.executable} x.py"})
