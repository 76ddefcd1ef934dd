"""What a person sees while a study runs: lines in a pipe, a view that moves on a terminal."""

import os
import pty
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpopt.display import LineDisplay, LiveDisplay, make_display
from hpopt.history import History
from hpopt.pool.budget import Budget, Limits
from hpopt.settings import Settings
from hpopt.tracking.client import TrackingProcess
from hpopt_envs.actions import absolute_action
from hpopt_envs.messages import Advance, to_json
from hpopt_envs.records import RunFacts
from hpopt_search_spaces import SearchSpace

Play = Callable[..., None]


@pytest.fixture
def play(facts: RunFacts, space: SearchSpace, tmp_path: Path) -> Play:
    """Shows a journal's events on a display, one after the other."""

    def show(
        display: LineDisplay,
        events: list[dict[str, Any]],
        limits: Limits = Limits(trials=5),  # noqa: B008 (frozen)
        error: str | None = None,
        **settings: Any,
    ) -> None:
        history, asked = History(), Settings.of(settings)
        history.apply(events[0])
        budget = Budget(limits, facts, validate_segments=True, confirmations=4)
        tracking = TrackingProcess(tmp_path, asked.uri, "lm", "trials")
        tracking.error = error
        display.begin(asked, "otter", facts, space, history, budget, tracking)
        for event in events[1:]:
            history.apply(event)
            display.event(event)
        display.confirming(2)
        display.end()

    return show


def test_lines_tell_the_study_and_how_each_trial_ended(
    play: Play, every_ending: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    play(LineDisplay(), every_ending, pruner="median")
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert "study otter: tpe with pruner median on lm, model tiny (10 trained parameters)" in lines
    assert "objective: loss + 0.5 × forgetting (minimised, nats/token); base model: 4.0000" in lines
    assert "budget: 5 trials; a trial is 4 segments of 4,096 training tokens" in lines
    trials = [line for line in lines if re.match(r" +\d+ ", line)]
    # 2, 3, 5, 6 and 8 segments of the 20 that five trials may have
    assert [line.split()[:2] for line in trials] == [
        ["0", "10%"],
        ["1", "15%"],
        ["2", "25%"],
        ["3", "30%"],
        ["4", "40%"],
    ]
    said = ["3.0000 *", "pruned after segment 1 of 4", "exploded", "out of memory", "2.5000 *"]
    for line, what in zip(trials, said, strict=True):
        assert f"%  {what}  " in line
        assert re.search(r"learning_rate=\S+, batch_size=\d+, divergence_weight=\S+$", line)
    assert "confirming the winner on 2 fresh seeds ..." in lines


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(trials=1), "budget: 1 trial; "),
        (Limits(cost=1e6), "budget: 1,000,000 token-equivalents; "),
        (Limits(seconds=5400), "budget: 1 h 30 min; "),
        (Limits(trials=9, target=2.25), "budget: 9 trials or a value of 2.25; "),
    ],
)
def test_the_budget_is_told_in_its_own_units(
    play: Play,
    new_script: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    limits: Limits,
    told: str,
) -> None:
    play(LineDisplay(), new_script().events, limits)
    assert told in capsys.readouterr().out


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """A pseudo-terminal of 120 columns as standard output; returns what was written to it."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")

    def read() -> str:
        sys.stdout.flush()
        return os.read(ours, 1_000_000).decode()

    with os.fdopen(theirs, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        yield read
        monkeypatch.undo()
    os.close(ours)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_a_terminal_shows_what_runs_now_below_the_same_lines(
    play: Play, new_script: Callable[..., Any], space: SearchSpace, terminal: Callable[[], str]
) -> None:
    script = new_script()
    script.trial(0, 3.5, 3.25, 3.125, 3.0)
    script.start(1)
    script.segment(1, 0, 3.75)
    unit = space.encode({"learning_rate": 0.004, "batch_size": 32, "divergence_weight": 0.5})
    asked = to_json(Advance(absolute_action(unit)))
    script.events.append({"event": "decision", "worker": 0, "trial": 1, "request": asked})
    display = make_display()
    assert isinstance(display, LiveDisplay)
    play(display, script.events, error="the server is gone")
    written = terminal()
    told = plain(written)
    assert "study otter: tpe on lm" in told
    assert re.search(r"    0   20%  3\.0000 \* +learning_rate=", told)
    last = told[told.rindex("confirming the winner on 2 fresh seeds") :]
    # trial 1 is in its second segment; the first one's training loss was 3.75 + 0.125
    running = re.search(r"^1 +2 of 4 +3\.8750 +(\S.*\S) *$", last, re.MULTILINE)
    assert running is not None
    assert "learning_rate=0.004, batch_size=32, divergence_weight=0.5" in running[1]
    assert "best so far: 3.0000 (trial 0, learning_rate=" in last
    assert "confirming, 0 s, MLflow: the server is gone" in last
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor comes back


def test_a_terminal_shows_budget_and_time_left(
    play: Play, new_script: Callable[..., Any], terminal: Callable[[], str]
) -> None:
    script = new_script()
    for trial in range(3):
        script.trial(trial, 3.5, 3.25, 3.125, 3.0 - trial / 8)
    play(LiveDisplay(), script.events)
    # the view is drawn below each line: after the last one, three of five trials are spent, and
    # two trials in no time and four of 2 s to confirm are left
    assert "60% of the budget used, 0 s, about 8 s left" in plain(terminal())


def test_a_pipe_gets_lines() -> None:
    assert type(make_display()) is LineDisplay
