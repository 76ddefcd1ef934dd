"""Ctrl-C and SIGTERM on a real study in a process of its own, and what Python says to the same."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import hpopt
from hpopt.cli.entry import main
from hpopt.record.journal import read_events
from hpopt_envs.records import Trial

EXAMPLES = Path(__file__).parents[3] / "examples"
SETTINGS = {"task": "own_task:Digits", "trials": 4, "trial_tokens": 4096, "confirm_seeds": 1}


class Study:
    """The study `otter` in a folder of its own, run by processes that are interrupted."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def run(self, *arguments: str, interrupt: signal.Signals | None = None) -> tuple[int, str, str]:
        """Run a command, interrupted as soon as a trial has ended: status, output, errors."""
        process = subprocess.Popen(
            [sys.executable, "-m", "hpopt", *arguments, "--runs", str(self.runs)],
            cwd=EXAMPLES,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        told = ""
        for line in process.stdout:
            told += line
            if interrupt is not None and re.match(r" +\d+ ", line):
                process.send_signal(interrupt)
                interrupt = None
        with process:
            return process.wait(), told, process.stderr.read()

    def ended_trials(self) -> int:
        events = read_events(self.runs / "otter" / "journal.jsonl")
        return sum(
            event["event"] == "reply" and event["reply"]["value"] is not None for event in events
        )

    def recorded(self) -> Counter[str]:
        """MLflow's runs by status."""
        with sqlite3.connect(self.runs / "mlflow.db") as database:
            return Counter(status for (status,) in database.execute("SELECT status FROM runs"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interrupted") / "runs"


def test_an_interrupted_study_keeps_its_trials_and_is_resumed(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    study = Study(runs)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    begin = ["search", *options, "--name", "otter"]
    goes_on = f"`python -m hpopt resume otter --runs {runs}` goes on with it"

    status, told, said = study.run(*begin, interrupt=signal.SIGINT)
    assert (status, said) == (130, f"hpopt: interrupted; {goes_on}\n")
    assert "Winner" not in told
    first = study.ended_trials()
    assert 1 <= first < 4
    record = study.recorded()
    assert record["KILLED"] >= 1
    assert record["FINISHED"] == first
    assert record["RUNNING"] == record["FAILED"] == 0

    status, _, said = study.run("resume", "otter", interrupt=signal.SIGTERM)
    assert (status, said) == (130, f"hpopt: interrupted; {goes_on}\n")
    assert study.ended_trials() > first
    assert study.recorded()["RUNNING"] == 0

    monkeypatch.chdir(EXAMPLES)
    assert main(["resume", "otter", "--runs", str(runs)]) == 0
    told, said = capfd.readouterr()
    assert said == ""
    assert "Winner: trial" in told
    assert set(study.recorded()) == {"FINISHED"}
    there = {"best", "journal.jsonl", "report.html", "result.json", "schedule.json"}
    assert {path.name for path in (runs / "otter").iterdir()} == there
    script = {path.name for path in runs.glob("plotly-*.min.js")}
    assert {path.name for path in runs.iterdir()} == {"mlartifacts", "mlflow.db", "otter", *script}


def test_python_comes_to_the_same_result_as_the_interrupted_command_line(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLES)
    result = hpopt.search(**SETTINGS, runs=str(runs), name="beaver")
    assert capfd.readouterr() == ("", "")
    theirs = json.loads((runs / "otter" / "result.json").read_text())
    ours = json.loads((runs / "beaver" / "result.json").read_text())
    for what in ("best_value", "best_trial", "trials", "test", "base_value"):
        assert ours[what] == theirs[what]
    assert result.best_value == ours["best_value"]
    assert (result.name, result.folder) == ("beaver", runs / "beaver")
    assert isinstance(result.best, Trial)
    assert result.best.id == ours["winner"]["trial"]
    assert result.recommendation is not None
    assert result.recommendation.trial == ours["best_trial"]
    assert len(result.trials) == ours["trials"] == 4
    assert result.cost == ours["cost"]
    assert result.tracking_error is None
    schedule = json.loads((runs / "beaver" / "schedule.json").read_text())
    assert result.schedule == [part["hyperparameters"] for part in schedule["segments"]]
