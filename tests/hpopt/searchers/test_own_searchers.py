"""Searchers and pruners of one's own: named by module:Class or installed, from the command line."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpopt.record.history import History
from hpopt.record.journal import read_events

OWN = '''
import random
from hpopt import AgentSpec, Proposal

class Dice:
    """Independent random points."""
    spec = AgentSpec(prunable=False)
    def __init__(self, plan, space, facts):
        self.plan, self.space, self.number = plan, space, 0
    def ask(self):
        draw = random.Random(f"{self.plan.seed} {self.number}")
        self.number += 1
        values = self.space.decode([draw.random() for _ in self.space.parameters])
        return Proposal(self.number - 1, values)
    def report(self, proposal, segment):
        return False
    def tell(self, proposal, trial):
        pass

class Loop:
    """The default, over and over."""
    def __init__(self, plan):
        pass
    def search(self, pool):
        while pool.can_start():
            pool.start(0)
            while pool.collect()[1].outcome is None:
                pool.hold(0, pool.space.defaults())

class Patient(Dice):
    spec = AgentSpec(prunable=True)

class Fragile(Dice):
    def tell(self, proposal, trial):
        if proposal.number == 2:
            print("told", 1 / MENDED)

class Deaf(Dice):
    def ask(self):
        return {"learning_rate": 1.0}

class Forgets(Dice):
    def ask(self):
        proposal = super().ask()
        return Proposal(proposal.number, {"learning_rate": proposal.values["learning_rate"]})

class Crooked(Dice):
    spec = "no AgentSpec"

class Asks:
    def ask(self): ...

class Unmade(Dice):
    def __init__(self, plan):
        pass

def half(plan, segments):
    """Stops what is worse than half of the others."""
    from optuna.pruners import PercentilePruner
    return PercentilePruner(50.0, n_startup_trials=2)

def fails(plan, segments):
    raise OSError("no such threshold")

MENDED = 0
number = 3
'''
POINTS = """[hpopt.searchers]
dice = own_searchers:Dice
lost = own_searchers:Nothing
[hpopt.pruners]
half = own_searchers:half
"""
SMALL = ["--task=simulated", "--trials=5", "--trial-tokens=16384", "--confirm-seeds=0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a module, and a package beside it that installs its parts."""
    (tmp_path / "own_searchers.py").write_text(OWN)
    installed = tmp_path / "site" / "strangers-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(POINTS)
    return tmp_path


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    path = os.pathsep.join([str(folder / "site"), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-m", "hpopt", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
    )


def hpopt(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    out, err = process.communicate()
    return process.returncode, out, err


def told(folder: Path, name: str) -> list[str]:
    """The trials of a study, but for how long they took."""
    history = History()
    for event in read_events(folder / "runs" / name / "journal.jsonl"):
        history.apply(event)
    return [
        repr(vars(trial) | {"segments": [vars(s) | {"wall_seconds": 0.0} for s in trial.segments]})
        for trial in history.trials.values()
    ]


@pytest.mark.parametrize("agent", ["own_searchers:Dice", "dice", "own_searchers:Loop", "tpe+half"])
def test_it_searches_and_a_killed_study_of_it_goes_on(agent: str, folder: Path) -> None:
    asked = ["search", "--agent", agent, *SMALL, "--name"]
    status, _, err = hpopt(folder, *asked, "whole")
    assert (status, err) == (0, "")
    whole = folder / "runs" / "whole" / "journal.jsonl"
    journal = folder / "runs" / "killed" / "journal.jsonl"
    process = start(folder, *asked, "killed")
    while not journal.exists() or journal.stat().st_size < 0.6 * whole.stat().st_size:
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    status, _, err = hpopt(folder, "resume", "killed")
    assert (status, err) == (0, "")
    assert told(folder, "killed") == told(folder, "whole")
    assert len(told(folder, "whole")) >= 5


def test_a_pruner_of_one_s_own_prunes(folder: Path) -> None:
    agent = "random+own_searchers:half"
    status, _, err = hpopt(folder, "search", "--agent", agent, *SMALL, "--name=pruned")
    assert (status, err) == (0, "")
    assert any("'pruned': True" in trial for trial in told(folder, "pruned"))


def test_trials_of_one_s_own_proposer_are_paused_and_promoted(folder: Path) -> None:
    agent = "own_searchers:Patient+promotion"
    status, _, err = hpopt(folder, "search", "--agent", agent, *SMALL, "--name=paused")
    assert (status, err) == (0, "")
    events = read_events(folder / "runs" / "paused" / "journal.jsonl")
    assert {"paused", "unpaused"} <= {event["event"] for event in events}


def test_it_is_compared_with_ours(folder: Path) -> None:
    agents = "--agents=own_searchers:Dice,dice,tpe+half,tpe"
    asked = ["--trials=2", "--trial-tokens=8192", "--seeds=2", "--name=all", "--workers=1"]
    status, out, err = hpopt(folder, "compare", "--task=simulated", agents, *asked)
    assert (status, err) == (0, "")
    for label in ("own_searchers:Dice", "dice", "tpe+half", "tpe", "random", "default"):
        assert re.search(rf"^ *{re.escape(label)} ", out, re.MULTILINE), label


def test_what_is_installed_is_listed(folder: Path) -> None:
    status, out, err = hpopt(folder, "agents")
    assert (status, err) == (0, "")
    assert re.search(r"^dice +Installed: own_searchers:Dice\.$", out, re.MULTILINE)
    assert re.search(r"^\+half +Installed: own_searchers:half\.$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("agent", "line"),
    [
        ("no_such_module:Dice", "no_such_module:Dice: importing no_such_module failed: ModuleNotF"),
        ("own_searchers:Dise", "own_searchers:Dise: module own_searchers ("),
        ("own_searchers:number", "--agent: own_searchers:number must be a class or a function"),
        ("own_searchers:half", "--agent: own_searchers:half must be a class with search, or with"),
        ("own_searchers:Asks", "--agent: own_searchers:Asks must be a class with search, or with"),
        ("own_searchers:Crooked", "must be an AgentSpec, but got 'no AgentSpec'"),
        ("dise", "--agent: there is no 'dise' (nearest: dice"),
        ("lost", "own_searchers:Nothing: module own_searchers ("),
        ("own_searchers:Dice+median", "pruner: must go with one of tpe"),
        ("tpe+halve", "pruner: there is no 'halve' (nearest: half"),
        ("tpe+own_searchers:number", "pruner: own_searchers:number must be a class or a function"),
    ],
)
def test_what_is_no_searcher_is_told_in_a_line(agent: str, line: str, folder: Path) -> None:
    status, out, err = hpopt(folder, "search", "--agent", agent, *SMALL)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("hpopt: ")
    assert line in err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("agent", "line"),
    [
        (
            "own_searchers:Deaf",
            "--agent: ask() must return a Proposal or None, but got {'learning_rate': 1.0}",
        ),
        (
            "own_searchers:Forgets",
            "--agent: must hold every hyperparameter, but got no batch_size",
        ),
        ("own_searchers:Unmade", "agent own_searchers:Unmade failed: TypeError: "),
        ("tpe+own_searchers:fails", "failed: OSError: no such threshold (own_searchers.py, line "),
    ],
)
def test_what_it_raises_is_told_in_a_line(agent: str, line: str, folder: Path) -> None:
    status, _, err = hpopt(folder, "search", "--agent", agent, *SMALL)
    assert (status, err.count("\n")) == (2, 1)
    assert line in err


def test_a_study_goes_on_once_the_mistake_is_mended(folder: Path) -> None:
    asked = ["search", "--agent=own_searchers:Fragile", *SMALL, "--name"]
    status, _, err = hpopt(folder, *asked, "broken")
    expected = (
        "hpopt: agent own_searchers:Fragile failed: ZeroDivisionError: division by zero "
        r"\(own_searchers.py, line \d+\)\n"
    )
    assert status == 2
    assert re.fullmatch(expected, err)
    before = told(folder, "broken")
    assert len(before) == 3
    (folder / "own_searchers.py").write_text(OWN.replace("MENDED = 0", "MENDED = 1"))
    assert hpopt(folder, "resume", "broken")[::2] == (0, "")
    assert hpopt(folder, *asked, "whole")[::2] == (0, "")
    assert told(folder, "broken") == told(folder, "whole")
    assert told(folder, "broken")[:3] == before
