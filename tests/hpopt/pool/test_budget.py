"""What a study may spend, and which snapshots it keeps while it does."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt.errors import StudyError
from hpopt.pool.budget import Budget, FinalPlan, Limits, active_seconds
from hpopt.pool.local import LocalPool
from hpopt.pool.snapshots import SnapshotFolder
from hpopt.record.history import History
from hpopt.record.journal import Journal, read_events
from hpopt.record.lines import Event
from hpopt.searchers.registry import find_agent
from hpopt.study.display import Display
from hpopt.study.header import environment_settings, make_header
from hpopt.study.open_study import OpenStudy
from hpopt.study.opening import FACTORY, begin, take_up
from hpopt.study.result import StudyResult
from hpopt_envs.records import RunFacts, Trial
from tests.hpopt import searching
from tests.hpopt.asking import asked

SEGMENT = 4096
TRIAL = 4 * SEGMENT
DEAREST = SEGMENT * (1 + 4 / 3 + 0.2)
"""Token-equivalents of a simulated segment with a penalty and a validation after it."""

Search = Callable[..., StudyResult]


class Watch(Display):
    """Calls a function with each event as it is journaled, and with what is known by then."""

    def __init__(self, watch: Callable[[Event, History], None]) -> None:
        self._watch = watch

    def event(self, event: Event) -> None:
        self._watch(event, self.history)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Runs a new simulated study in `tmp_path`, on slots of this process, without MLflow."""

    def run(slots: int = 1, display: Display | None = None, **changes: Any) -> StudyResult:
        given = {"task": "simulated", "trial_tokens": TRIAL, "runs": str(tmp_path), "name": "otter"}
        settings = asked(given | changes)
        who = settings.searcher
        environment = environment_settings(settings, find_agent(who.agent, who.pruner))
        pool = LocalPool(FACTORY, environment, slots)
        header = make_header(settings, "otter", environment, pool)
        journal = Journal.create(tmp_path / "otter" / "journal.jsonl", header)
        return searching.run(OpenStudy(journal, pool, settings), display)

    return run


def resume(runs: Path, display: Display | None = None) -> StudyResult:
    return searching.run(take_up("otter", str(runs), {}), display)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize(
    ("agent", "pruner"),
    [("tpe", "none"), ("random", "median"), ("tpe", "hyperband"), ("ppo", "none")],
)
def test_trials_are_an_allowance_of_training_tokens(
    agent: str, pruner: str, slots: int, search: Search
) -> None:
    """What pruned, stopped and exploded trials save is given back; running ones keep theirs."""

    def check(event: Event, history: History) -> None:
        if event["event"] == "decision" and event["request"]["kind"] == "start":
            running = [history.trials[trial] for trial in history.running.values()]
            needed = sum(TRIAL - trial.trained_tokens for trial in running)
            assert history.training_tokens + needed <= 6 * TRIAL or history.tests

    result = search(slots, Watch(check), agent=agent, pruner=pruner, trials=6, prior="none")
    spent = sum(trial.trained_tokens for trial in result.trials)
    assert result.history.training_tokens == spent
    assert 5 * TRIAL < spent <= 6 * TRIAL


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize(("agent", "pruner"), [("tpe", "none"), ("random", "median")])
def test_a_cost_limit_holds_with_the_final(
    agent: str, pruner: str, slots: int, search: Search
) -> None:
    limit = 700_000.0
    result = search(slots, agent=agent, pruner=pruner, cost=limit)
    dearest = DEAREST if pruner != "none" else DEAREST - 0.2 * SEGMENT
    trial = 4 * dearest + result.facts.final_validation_cost
    run = trial + result.facts.final_validation_cost
    assert result.final is not None
    assert result.cost <= limit
    assert result.cost - result.history.search_cost <= max(2 * run, result.history.search_cost / 2)
    one_more = result.history.search_cost + trial
    assert one_more + max(2 * run, one_more / 2) > limit


def test_a_cost_limit_below_one_trial_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    given = {"task": "simulated", "trial_tokens": TRIAL, "runs": str(tmp_path)}
    validation = 0.08 * TRIAL
    trial = TRIAL * (1 + 4 / 3) + validation
    least = validation + trial + 2 * (trial + validation)  # a final has two runs at least
    with pytest.raises(StudyError, match=f"^cost: must be at least {least:,.0f} [^\n]*$"):
        begin(asked(given | {"cost": 0.99 * least}))
    assert list(tmp_path.iterdir()) == []


def folded(facts: RunFacts, *events: dict[str, Any]) -> History:
    history = History()
    for event in ({"event": "study", "facts": asdict(facts), "settings": {}}, *events):
        history.apply(json.loads(json.dumps(event)))
    return history


@pytest.mark.parametrize(("before", "allowed"), [(0.0, True), (70.0, True), (75.0, False)])
def test_a_time_limit_leaves_room_for_a_trial_and_the_final(
    before: float, allowed: bool, facts: RunFacts, new_script: Callable[..., Any]
) -> None:
    """The script's segments take half a second each."""
    script = new_script()
    script.trial(0, 3.5, 3.25, 3.0, 2.75)
    script.trial(1, 3.5, 3.25, 3.0, 2.75, 2.5, 2.25, 2.0, 1.75, 1.5, 1.25)
    history = folded(facts, *script.events[1:])
    limits = Limits(seconds=100.0)
    plan = FinalPlan(entrants=2, seeds=2)
    budget = Budget(limits, facts, True, plan, seconds_before=before)
    assert budget.allows(history) is allowed


@given(st.lists(st.tuples(st.sampled_from(["reply", "resumed"]), st.integers(0, 50))))
def test_time_between_processes_is_not_the_study_s(steps: list[tuple[str, int]]) -> None:
    events, now = [{"event": "study", "time": 1000.0}], 1000.0
    for kind, gap in steps:
        now += gap
        events.append({"event": kind, "time": now})
    assert active_seconds(events) == sum(gap for kind, gap in steps if kind == "reply")


@pytest.mark.parametrize("slots", [1, 3])
def test_a_target_ends_the_study_where_it_is_reached(
    slots: int, search: Search, tmp_path: Path
) -> None:
    whole = search(slots, agent="random", trials=12, prior="none")
    reached = whole.history.improvements[1]
    shutil.rmtree(tmp_path / "otter")

    def check(event: Event, history: History) -> None:
        if event["event"] == "decision" and event["request"]["kind"] == "start":
            done = history.best is not None and history.best.id == reached.trial
            assert event["request"]["test"] or not done

    result = search(
        slots, Watch(check), agent="random", trials=12, prior="none", target=reached.value
    )
    assert result.best is not None
    assert result.best.id == reached.trial
    assert reached.trial < len(result.trials) <= reached.trial + slots < len(whole.trials)
    assert [told(t) for t in result.trials] == [told(t) for t in whole.trials[: len(result.trials)]]


def snapshots(runs: Path) -> list[str]:
    return sorted(path.name for path in (runs / "otter" / "snapshots").iterdir())


@pytest.mark.parametrize(("agent", "pruner"), [("random", "median"), ("ppo", "none")])
def test_one_snapshot_a_running_trial_and_the_best_one_s(
    agent: str, pruner: str, search: Search, tmp_path: Path
) -> None:
    def expected(history: History, but: int | None = None) -> list[str]:
        kept = [history.trials[trial] for trial in history.running.values()]
        kept += [history.best] if history.best is not None else []
        return sorted(
            f"trial-{t.id:07d}-{len(t.segments):04d}.safetensors" for t in kept if t.segments
        )

    def check(event: Event, history: History) -> None:
        if event["event"] == "decision":
            assert snapshots(tmp_path) == expected(history)

    search(3, Watch(check), agent=agent, pruner=pruner, trials=6)
    assert not (tmp_path / "otter" / "snapshots").exists()


class Killed(BaseException):
    """The end of a process, as far as its files are concerned."""


def told(trial: Trial) -> str:
    """Everything about a trial but when it happened; NaN is the same as NaN."""
    same = {"study_cost": 0.0, "wall_seconds": 0.0}
    return repr(vars(trial) | {"segments": [vars(s) | same for s in trial.segments]})


def leave(snapshot: Path) -> None:
    pass


def cut(snapshot: Path) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[:700])


def garble(snapshot: Path) -> None:
    snapshot.write_bytes(bytes(2000))


@pytest.mark.parametrize(
    ("most", "tamper", "lost"),
    [
        pytest.param(10**6, leave, 0, id="sound"),
        pytest.param(10**6, Path.unlink, 3, id="gone"),
        pytest.param(10**6, cut, 3, id="cut"),
        pytest.param(10**6, garble, 3, id="garbled"),
        pytest.param(0, leave, 2, id="large"),  # of each trial, the first and the last are written
    ],
)
@pytest.mark.parametrize(("agent", "pruner"), [("tpe", "median"), ("ppo", "none")])
def test_what_a_trial_s_snapshot_lacks_is_run_again_and_charged(
    agent: str,
    pruner: str,
    most: int,
    tamper: Callable[[Path], None],
    lost: int,
    search: Search,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpopt.pool.snapshots.EVERY_SEGMENT_BYTES", most)
    whole = search(agent=agent, pruner=pruner, trials=4, seed=1)
    shutil.rmtree(tmp_path / "otter")

    def kill(event: Event, history: History) -> None:
        trained = len(history.trials[1].segments) if 1 in history.trials else 0
        if event["event"] == "decision" and event["trial"] == 1 and trained == 3:
            raise Killed

    with pytest.raises(Killed):
        search(display=Watch(kill), agent=agent, pruner=pruner, trials=4, seed=1)
    (newest,) = (tmp_path / "otter" / "snapshots").glob("trial-0000001-*.safetensors")
    tamper(newest)
    result = resume(tmp_path)
    assert [told(t) for t in result.trials] == [told(t) for t in whole.trials]
    assert result.history.training_tokens == whole.history.training_tokens
    assert math.isclose(result.cost, whole.cost + lost * DEAREST)
    kinds = [event["event"] for event in read_events(tmp_path / "otter" / "journal.jsonl")]
    assert kinds.count("lost") == lost


def test_large_snapshots_are_written_now_and_then_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trial = SnapshotFolder(tmp_path), Trial(7, seed=0)
    first = folder.next_path(trial, last=False)
    assert first is not None
    with first.open("wb") as file:
        file.truncate(257 * 2**20)  # takes no room on the disk
    folder.wrote(trial, str(first))
    assert folder.next_path(trial, last=False) is None
    assert folder.next_path(trial, last=True) is not None
    assert folder.next_path(Trial(8, seed=0), last=False) is not None
    monkeypatch.setattr("hpopt.pool.snapshots.SECONDS_BETWEEN", 0.0)  # ten minutes later
    assert folder.next_path(trial, last=False) is not None


@pytest.mark.parametrize("last", ["decision", "reply"])
@pytest.mark.parametrize(("agent", "pruner"), [("tpe", "median"), ("ppo", "none")])
def test_a_kill_while_a_trial_is_run_again_costs_that_alone(
    agent: str, pruner: str, last: str, search: Search, tmp_path: Path
) -> None:
    whole = search(agent=agent, pruner=pruner, trials=4, seed=1)
    shutil.rmtree(tmp_path / "otter")

    def kill(event: Event, history: History) -> None:
        if event["event"] == last and event["trial"] == 1 and len(history.trials[1].segments) == 3:
            raise Killed

    def kill_again(event: Event, history: History) -> None:
        if event["event"] == "lost":
            raise Killed

    with pytest.raises(Killed):
        search(display=Watch(kill), agent=agent, pruner=pruner, trials=4, seed=1)
    shutil.rmtree(tmp_path / "otter" / "snapshots")
    for _ in range(2):
        with pytest.raises(Killed):
            resume(tmp_path, Watch(kill_again))
    result = resume(tmp_path)
    assert [told(t) for t in result.trials] == [told(t) for t in whole.trials]
    assert math.isclose(result.cost - whole.cost, 5 * DEAREST)
