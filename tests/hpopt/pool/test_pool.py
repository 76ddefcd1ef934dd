"""Worker processes may be late and tasks fail: the trials are those of slots in this process."""

import shutil
from pathlib import Path

import pytest

from hpopt.errors import StudyError
from hpopt.pool.local import LocalPool
from hpopt.record.journal import Journal
from hpopt.record.lines import Event
from hpopt.study.opening import begin
from hpopt_envs.records import Outcome
from tests.hpopt import searching
from tests.hpopt.pool.pooled import (
    FAULTY,
    SEGMENT,
    Watch,
    faulty,
    go_on,
    local,
    processes,
    run,
    settings_of,
    told,
    trials,
)
from tests.hpopt.searching import final_of


@pytest.mark.parametrize(("agent", "pruner"), [("tpe", "hyperband"), ("ppo", "none")])
def test_processes_run_the_study_that_slots_would(agent: str, pruner: str, tmp_path: Path) -> None:
    first = settings_of(tmp_path / "slots", agent=agent, pruner=pruner)
    second = settings_of(tmp_path / "processes", agent=agent, pruner=pruner)
    slots, others = run(local(first, 2), first), run(processes(second, 2), second)
    assert trials(others) == trials(slots)
    assert final_of(others) == final_of(slots)
    assert others.cost == slots.cost


def test_replies_as_they_come_are_journaled_as_they_came(tmp_path: Path) -> None:
    """Random proposals don't depend on the order of the replies, so that trials can be told."""
    sound = settings_of(tmp_path / "sound", agent="random", trials=8)
    asked = settings_of(tmp_path / "any", agent="random", trials=8, workers=2, in_order=False)
    whole = {trial.id: told(trial) for trial in run(local(sound), sound).trials}

    def stop(event: Event) -> None:
        if event["event"] == "reply" and event["trial"] == 4:
            raise KeyboardInterrupt

    study = begin(asked)
    with pytest.raises(KeyboardInterrupt):
        searching.run(study, Watch(stop))
    path = study.folder.journal
    before = path.read_bytes()
    result = go_on(Journal.open(path), local(asked, 2), asked)
    assert path.read_bytes().startswith(before)
    assert {trial.id: told(trial) for trial in result.trials} == whole


@pytest.mark.usefixtures("faulty_path")
def test_a_task_that_always_raises_ends_the_study_with_its_line(tmp_path: Path) -> None:
    asked = settings_of(tmp_path)
    environment = faulty(asked, {"what": "raise", "trial": None, "segment": 1, "times": 99})
    line = "^trials must train, but the first 3 failed: ValueError: the data set[^\n]*$"
    with pytest.raises(StudyError, match=line):
        run(LocalPool(FAULTY, environment), asked)
    path = tmp_path / "otter" / "journal.jsonl"
    before = path.read_bytes()
    with pytest.raises(StudyError, match=line):
        go_on(Journal.open(path), LocalPool(FAULTY, environment), asked)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("faulty_path")
def test_a_task_that_raises_now_and_then_fails_those_trials(tmp_path: Path) -> None:
    asked = settings_of(tmp_path, pruner="median")
    faults = [{"what": "raise", "trial": n, "segment": 1, "times": 1} for n in (0, 1, 3)]
    result = run(LocalPool(FAULTY, faulty(asked, *faults)), asked)
    failed = [trial for trial in result.trials if trial.outcome is Outcome.FAILED]
    assert [trial.id for trial in failed] == [0, 1, 3]
    assert all(trial.reason.startswith("ValueError: the data set") for trial in failed)
    assert result.best is not None
    finished = sum(trial.trained_tokens for trial in result.trials)
    assert result.history.training_tokens == finished + 3 * SEGMENT


@pytest.mark.usefixtures("faulty_path")
@pytest.mark.parametrize("times", [1, 2])
def test_a_trial_that_cannot_be_rebuilt_is_tried_once_more_and_then_fails(
    times: int, tmp_path: Path
) -> None:
    sound, asked = settings_of(tmp_path / "sound"), settings_of(tmp_path / "faulty")
    whole = run(local(sound), sound)

    def stop(event: Event) -> None:
        if event["event"] == "reply" and len(watch.history.trials[event["trial"]].segments) == 3:
            raise KeyboardInterrupt

    watch = Watch(stop)
    with pytest.raises(KeyboardInterrupt):
        run(local(asked), asked, watch)
    folder = tmp_path / "faulty" / "otter"
    shutil.rmtree(folder / "snapshots")
    environment = faulty(asked, {"what": "raise", "trial": 0, "segment": 1, "times": times})
    result = go_on(Journal.open(folder / "journal.jsonl"), LocalPool(FAULTY, environment), asked)
    assert (trials(result) == trials(whole)) is (times == 1)
    assert result.trials[0].segments[:3] == whole.trials[0].segments[:3]
    assert (result.trials[0].outcome is Outcome.FAILED) is (times == 2)
