"""What a person sees while a study runs: lines in a pipe, a view that moves on a terminal."""

import contextlib
import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpopt.cli.display import LineDisplay, LiveDisplay, make_display
from hpopt.pool.budget import Budget, FinalPlan, Limits
from hpopt.record.final import incumbents_of
from hpopt.record.history import History
from hpopt.tracking.client import TrackingProcess
from hpopt_envs.messages import Advance, to_json
from hpopt_envs.records import Outcome
from hpopt_search_spaces import SearchSpace
from tests.hpopt.asking import asked
from tests.hpopt.scripted import scripted

Play = Callable[..., None]
OnTerminal = Callable[[Callable[[], None]], str]


@pytest.fixture
def play(space: SearchSpace, tmp_path: Path) -> Play:
    """Shows a journal's events on a display, one after the other."""

    def show(
        display: LineDisplay,
        events: list[dict[str, Any]],
        limits: Limits = Limits(trials=5),  # noqa: B008 (frozen)
        error: str | None = None,
        confirms: bool = True,
        **settings: Any,
    ) -> None:
        history, said = History(), asked({"agent": "tpe", **settings})
        history.apply(events[0])
        facts = history.facts
        budget = Budget(limits, facts, True, FinalPlan(entrants=2, seeds=2))
        tracking = TrackingProcess(tmp_path, said.tracking.uri, "lm", "trials")
        tracking.error = error
        study = scripted(tmp_path / "journal.jsonl", events[0], history, space, said)
        display.begin(study, history, budget, tracking)
        for event in events[1:]:
            history.apply(event)
            display.event(event)
        if confirms:
            display.judging(incumbents_of(history))
        display.end()

    return show


@pytest.mark.parametrize(
    ("task", "data", "fixed", "said"),
    [
        ("lm", {}, {}, ""),
        ("simulated", {}, {}, ""),
        ("classify", {}, {}, ""),
        ("dpo", {}, {}, ""),
        ("align", {}, {}, "no trainer minimises a divergence from a target distribution"),
        ("mine:Task", {}, {}, "the loss of task 'mine:Task' is its own"),
        ("classify", {"class_weights": "balanced"}, {}, "Trainer's loss has no class weights"),
        ("lm", {}, {"optimizer": "prodigy"}, "transformers has no optimizer prodigy"),
    ],
)
def test_what_cannot_be_exported_is_said_before_the_search(
    play: Play,
    every_ending: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    task: str,
    data: dict[str, Any],
    fixed: dict[str, Any],
    said: str,
) -> None:
    facts = every_ending[0]["facts"] | {"task": task, "fixed": fixed}
    header = every_ending[0] | {"facts": facts, "environment": {"data": data}}
    play(LineDisplay(), [header])
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if "exported" in line]
    assert told == (
        [f"What this study finds can be exported as json alone: {said}."] if said else []
    )


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
    assert "the final, on fresh seeds: default ..." in lines


def test_under_a_limit_each_line_has_a_divergence_and_says_if_it_is_over(
    play: Play, new_script: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    script = new_script(max_divergence=0.5)
    script.trial(0, 3.5, 2.0, divergence=0.75)
    script.trial(1, 3.5, 3.0, divergence=0.5)
    script.start(2)
    script.segment(2, 0, None, outcome=Outcome.EXPLODED, reason="the loss became inf")
    play(LineDisplay(), script.events)
    lines = capsys.readouterr().out.splitlines()
    limit = "subject to divergence ≤ 0.5 nats; base model: 4.0000"
    assert f"objective: loss + 0.5 × forgetting (minimised, nats/token), {limit}" in lines
    (head,) = [line for line in lines if line.startswith("trial  used")]
    trials = [line for line in lines if re.match(r" +\d+ ", line)]
    assert [line[head.index("value") : head.index("hyper")].split() for line in trials] == [
        ["2.0000", "0.7500", "(over)"],
        ["3.0000", "*", "0.5000"],
        ["exploded"],
    ]
    assert all(line[head.index("hyper") :].startswith("learning_rate=") for line in trials)


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
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> OnTerminal:
    """Does something on a pseudo-terminal of 120 columns; returns what was written to it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")

    def do(action: Callable[[], None]) -> str:
        ours, theirs = pty.openpty()
        written: list[bytes] = []

        def listen() -> None:  # what nobody reads makes the writer wait
            with contextlib.suppress(OSError):  # how Linux says that the other end was closed
                while data := os.read(ours, 65536):
                    written.append(data)

        listener = threading.Thread(target=listen)
        listener.start()
        with os.fdopen(theirs, "w") as out, contextlib.redirect_stdout(out):
            action()
        listener.join()
        os.close(ours)
        return b"".join(written).decode()

    return do


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_a_terminal_shows_what_runs_now_below_the_same_lines(
    play: Play, new_script: Callable[..., Any], space: SearchSpace, on_terminal: OnTerminal
) -> None:
    script = new_script()
    script.trial(0, 3.5, 3.25, 3.125, 3.0)
    script.start(1)
    script.segment(1, 0, 3.75)
    values = {"learning_rate": 4.0, "batch_size": 32, "divergence_weight": 0.5}
    request = to_json(Advance(hyperparameters=values))
    script.events.append({"event": "decision", "worker": 0, "trial": 1, "request": request})

    def show() -> None:
        display = make_display()
        assert isinstance(display, LiveDisplay)
        play(display, script.events, error="the server is gone")

    written = on_terminal(show)
    told = plain(written)
    assert "study otter: tpe on lm" in told
    assert re.search(r"    0   20%  3\.0000 \* +learning_rate=", told)
    last = told[told.rindex("the final, on fresh seeds: default") :]
    # trial 1 is in its second segment; the first one's training loss was 3.75 + 0.125
    running = re.search(r"^1 +2 of 4 +3\.8750 +(\S.*\S) *$", last, re.MULTILINE)
    assert running is not None
    assert "learning_rate=4, batch_size=32, divergence_weight=0.5" in running[1]
    assert "best so far: 3.0000 (trial 0, learning_rate=" in last
    assert "the final, 0 s, MLflow: the server is gone" in last
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor comes back


def test_a_terminal_shows_budget_and_time_left(
    play: Play, new_script: Callable[..., Any], on_terminal: OnTerminal
) -> None:
    script = new_script()
    for trial in range(3):
        script.trial(trial, 3.5, 3.25, 3.125, 3.0 - trial / 8)
    written = on_terminal(lambda: play(LiveDisplay(), script.events, confirms=False))
    # two of five trials in next to no time, and four of 2 s to confirm
    assert "60% of the budget used, 0 s, about 8 s left" in plain(written)


def test_a_pipe_gets_lines(capfd: pytest.CaptureFixture[str]) -> None:
    assert type(make_display()) is LineDisplay
