"""Trials that were paused go on: after a kill, in an extended study, after their worker died."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.pool.local import LocalPool
from hpopt.record.history import History
from hpopt.record.lines import Event, encode_line
from hpopt.searchers.promotion import KEPT
from hpopt.searchers.registry import find_agent
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.header import environment_settings
from hpopt.study.opening import FACTORY, take_up
from hpopt.study.result import StudyResult
from hpopt_envs.messages import Reply
from tests.hpopt.searchers.promoted import (
    RUNGS,
    TRIAL,
    Watch,
    events_of,
    go_on,
    outcome,
    settings_of,
    study,
)
from tests.hpopt.searching import Killed


def kill_after(count: int) -> Display:
    left = [count]

    def watch(event: Event, history: History) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    return Watch(watch)


@pytest.mark.parametrize(("agent", "slots"), [("tpe", 1), ("random", 2)])
def test_a_killed_study_goes_on_as_if_nothing_had_happened(
    agent: str, slots: int, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"agent": agent, "slots": slots, "trials": 3}
    whole = study(tmp_path / "whole", **asked)
    events = events_of(tmp_path / "whole")
    later = range(len(events) // 2, len(events))
    counts = [
        1 + next(i for i in later if events[i]["event"] == kind)
        for kind in ("paused", "unpaused", "refused", "closed")
    ]
    for count in [*counts, counts[1] + 1]:
        for keeps in (True, False):
            folder = tmp_path / f"{count} {keeps}"
            with pytest.raises(Killed):
                study(folder, kill_after(count), **asked)
            if not keeps:
                shutil.rmtree(folder / "otter" / "snapshots")
            resumed = study(folder, **asked)
            assert outcome(resumed) == outcome(whole), (count, keeps)
            assert not keeps or resumed.history.cost == whole.history.cost


def test_an_extended_study_keeps_its_rungs_and_may_be_killed_too(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        study(tmp_path / name, trials=3)

    def extend(name: str, display: Display) -> StudyResult:
        return conduct(take_up("otter", str(tmp_path / name), {"trials": 7}), display)

    first = len(events_of(tmp_path / "whole"))
    whole = extend("whole", Display())
    assert whole.history.training_tokens > 6 * TRIAL
    for count in (2, (len(events_of(tmp_path / "whole")) - first) // 2):
        with pytest.raises(Killed):
            extend("killed", kill_after(count))
    assert outcome(extend("killed", Display())) == outcome(whole)


def test_a_journal_in_which_another_trial_goes_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        study(tmp_path, kill_after(150))
    events = events_of(tmp_path)
    index = next(i for i, event in enumerate(events) if event["event"] == "paused")
    events[index]["trial"] += 1
    journal = tmp_path / "otter" / "journal.jsonl"
    journal.write_bytes(b"".join(map(encode_line, events)))
    with pytest.raises(StudyError, match=r"^a resumed study must decide as its journal says, but "):
        study(tmp_path)


def test_paused_trials_have_their_snapshots_however_large(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hpopt.pool.snapshots.EVERY_SEGMENT_BYTES", 0)
    most = 0

    def check(event: Event, history: History) -> None:
        nonlocal most
        if event["event"] == "decision":
            files = {path.name for path in (tmp_path / "otter" / "snapshots").iterdir()}
            for trial in history.paused:
                segments = len(history.trials[trial].segments)
                assert f"trial-{trial:07d}-{segments:04d}.safetensors" in files
            most = max(most, len(history.paused))
            assert len(files) <= len(history.paused) + 2  # of the running trial, and the best

    study(tmp_path, Watch(check), trials=8)
    assert most == len(RUNGS) * KEPT
    assert not (tmp_path / "otter" / "snapshots").exists()


class Dying(LocalPool):
    """Its worker dies once, when a trial is first taken past the first rung."""

    died = False

    def collect(self, worker: int | None = None) -> tuple[int, Reply]:
        worker, reply = super().collect(worker)
        if reply.segment is not None and reply.segment.id == RUNGS[0] and not self.died:
            self.died = True
            self._envs[worker].reset(seed=0)  # the new one knows nothing of the trial
            return worker, Reply(died=True)
        return worker, reply


def test_a_worker_that_dies_where_a_trial_goes_on_costs_a_segment_alone(tmp_path: Path) -> None:
    whole = study(tmp_path / "sound", trials=2)
    settings = settings_of(tmp_path / "dying", trials=2)
    environment = environment_settings(settings, find_agent("random", "promotion"))
    pool = Dying(FACTORY, environment)
    assert outcome(go_on(pool, settings, environment)) == outcome(whole)
    assert pool.died
    assert [event["event"] for event in events_of(tmp_path / "dying")].count("lost") == 1
