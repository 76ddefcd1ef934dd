"""The command line's own process, killed at random instants and resumed; see `test_resume.py`."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpopt
from hpopt.record.history import History
from hpopt.record.journal import read_events
from hpopt.settings.study import Settings
from hpopt.study.opening import begin, take_up
from tests.hpopt.searching import run

SIMULATED = {"task": "simulated", "trials": 6, "trial_tokens": 8 * 4096}
EMBEDDED = {"task": "lm", "trials": 3, "trial_tokens": 2 * 4096, "confirm_seeds": 1}
MEDIAN = {"agent": "tpe+median"}
PPO = {"agent": "ppo"}
TWO_WORKERS = {"agent": "ppo", "workers": 2}
KILLS = 20

Asked = dict[str, Any]


def start(asked: Asked) -> "subprocess.Popen[str]":
    options = [
        part for name, v in asked.items() for part in (f"--{name.replace('_', '-')}", str(v))
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "hpopt", "search", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def kill(runs: Path, length: int, asked: Asked) -> None:
    """Start a study, and kill its process when its journal has reached a length in bytes."""
    journal = runs / "otter" / "journal.jsonl"
    process = start({"name": "otter", "runs": runs, **asked})
    while not journal.exists() or journal.stat().st_size < length:
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -9


def kill_writer(runs: Path) -> None:
    """Kill the process that outlives a study to close its runs in MLflow, which takes seconds."""
    study = str(runs / "otter").encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            line = path.read_bytes()
            if study in line and b"tracking.writer" in line:
                os.kill(int(path.parent.name), signal.SIGKILL)


def told(runs: Path) -> list[str]:
    """The trials that a journal tells of, but for how long they took; NaN is the same as NaN."""
    history = History()
    for event in read_events(runs / "otter" / "journal.jsonl"):
        history.apply(event)
    return [
        repr(vars(trial) | {"segments": [vars(s) | {"wall_seconds": 0.0} for s in trial.segments]})
        for trial in history.trials.values()
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs folders of studies that nobody killed, each run once."""
    known: dict[str, Path] = {}

    def find(**asked: Any) -> Path:
        runs = known.get(str(asked))
        if runs is None:
            runs = known[str(asked)] = tmp_path_factory.mktemp("undisturbed")
            settings = Settings.of({"name": "otter", "runs": str(runs), **asked})
            run(begin(settings))
        return runs

    return find


def random_length(runs: Path, seed: str) -> int:
    whole = (runs / "otter" / "journal.jsonl").read_bytes()
    return random.Random(seed).randint(whole.index(b"\n") + 1, len(whole))


def kills(study: Asked, suite: int, slow: int) -> list[Any]:
    """Numbered kills of a study, some of them only when slow tests are asked for."""
    name = "-".join(str(value) for value in study.values())
    return [
        pytest.param(
            study, number, marks=pytest.mark.slow if number >= suite else (), id=f"{name}-{number}"
        )
        for number in range(suite + slow)
    ]


@pytest.mark.parametrize(
    ("study", "number"),
    [*kills(MEDIAN, 1, KILLS - 1), *kills(PPO, 0, KILLS), *kills(TWO_WORKERS, 1, 0)],
)
def test_a_killed_study_comes_to_the_same_trials(
    study: Asked, number: int, undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    whole = undisturbed(**SIMULATED, **study)
    length = random_length(whole, f"{study['agent']} {number}")
    kill(tmp_path, length, {**SIMULATED, **study})
    kill_writer(tmp_path)
    run(take_up("otter", str(tmp_path), {}))
    assert told(tmp_path) == told(whole)


@pytest.mark.slow
@pytest.mark.parametrize("study", [MEDIAN, PPO], ids=["tpe", "ppo"])
def test_a_killed_study_on_a_real_model_comes_to_the_same_trials(
    study: Asked, undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    whole = undisturbed(**EMBEDDED, **study)
    length = random_length(whole, study["agent"])
    kill(tmp_path, length, {**EMBEDDED, **study})
    kill_writer(tmp_path)
    run(take_up("otter", str(tmp_path), {}))
    assert told(tmp_path) == told(whole)


def test_a_killed_study_has_each_run_once_in_mlflow_and_none_running(
    undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    whole = undisturbed(**SIMULATED, **MEDIAN)
    asked = {**SIMULATED, **MEDIAN, "experiment": "kill", "track": "trials"}
    kill(tmp_path, random_length(whole, "record"), asked)
    assert hpopt.resume("otter", runs=str(tmp_path)).tracking_error is None
    assert told(tmp_path) == told(whole)

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("kill")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    trials = [int(run.data.tags["hpopt.trial"]) for run in runs if "hpopt.trial" in run.data.tags]
    events = list(read_events(tmp_path / "otter" / "journal.jsonl"))
    assert sorted(trials) == sorted({event["trial"] for event in events if "trial" in event})
    assert len(runs) == 1 + len(trials)
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED"}
    (parent,) = [run for run in runs if "hpopt.trial" not in run.data.tags]
    assert parent.info.status == "FINISHED"
