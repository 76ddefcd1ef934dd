"""Worker processes may come, die and be late: the trials are those of slots in this process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.pool.base import Pool
from hpopt.pool.local import LocalPool
from hpopt.pool.processes import ProcessPool
from hpopt.record.journal import Event, Journal
from hpopt.searchers.registry import find_agent
from hpopt.settings.study import Settings
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.header import environment_settings, make_header
from hpopt.study.opening import FACTORY, begin
from hpopt.study.result import StudyResult
from hpopt.tracking.client import TrackingProcess
from hpopt_envs.records import Outcome, Trial

SEGMENT = 4096
SMALL = {
    "task": "simulated",
    "agent": "tpe",
    "trials": 6,
    "trial_tokens": 4 * SEGMENT,
    "confirm_seeds": 1,
}
FAULTY = "faulty_env:make_env"


def settings_of(runs: Path, **changes: Any) -> Settings:
    return Settings.of({**SMALL, "runs": str(runs), "name": "otter", **changes})


def environment_of(settings: Settings) -> dict[str, Any]:
    return environment_settings(settings, find_agent(settings.agent, settings.pruner))


def faulty(settings: Settings, *faults: dict[str, Any]) -> dict[str, Any]:
    """Settings of an environment in which training goes wrong."""
    folder = Path(settings.runs) / "faults"
    folder.mkdir(parents=True)
    environment = environment_of(settings)
    kept = ("view", "validate_segments", "trial_tokens")
    return {name: environment[name] for name in kept} | {"faults": faults, "folder": str(folder)}


def run(pool: Pool, settings: Settings, display: Display | None = None) -> StudyResult:
    """A new study on workers of our own, without MLflow."""
    path = Path(settings.runs) / "otter" / "journal.jsonl"
    header = make_header(settings, "otter", environment_of(settings), pool)
    return go_on(Journal.create(path, header), pool, settings, display)


def go_on(
    journal: Journal, pool: Pool, settings: Settings, display: Display | None = None
) -> StudyResult:
    record = TrackingProcess(journal.path.parent, settings.uri, "none", "parents")
    return conduct(journal, pool, settings, display or Display(), record)


def local(settings: Settings, size: int = 1) -> LocalPool:
    return LocalPool(FACTORY, environment_of(settings), size)


def processes(settings: Settings, size: int) -> ProcessPool:
    log = Path(settings.runs) / "workers.log"
    log.parent.mkdir(parents=True)
    return ProcessPool(FACTORY, environment_of(settings), size, log)


def told(trial: Trial) -> str:
    """Everything about a trial but when it happened; NaN is the same as NaN."""
    same = {"study_cost": 0.0, "wall_seconds": 0.0}
    return repr(vars(trial) | {"segments": [vars(s) | same for s in trial.segments]})


def trials(result: StudyResult) -> list[str]:
    return [told(trial) for trial in result.history.trials.values()]


@pytest.fixture
def faulty_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process and its workers import `faulty_env`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


class Watch(Display):
    """Calls a function with each event as it is journaled."""

    def __init__(self, watch: Callable[[Event], None]) -> None:
        self._watch = watch

    def event(self, event: Event) -> None:
        self._watch(event)


@pytest.mark.parametrize(("agent", "pruner"), [("tpe", "hyperband"), ("ppo", "none")])
def test_processes_run_the_study_that_slots_would(agent: str, pruner: str, tmp_path: Path) -> None:
    first = settings_of(tmp_path / "slots", agent=agent, pruner=pruner)
    second = settings_of(tmp_path / "processes", agent=agent, pruner=pruner)
    slots, others = run(local(first, 2), first), run(processes(second, 2), second)
    assert trials(others) == trials(slots)
    assert others.confirmation == slots.confirmation
    assert others.cost == slots.cost


class Murder(Display):
    """Kills worker 0 in the middle of the third segment of trial 0."""

    def __init__(self, pool: ProcessPool) -> None:
        self._worker = pool.process_ids()[0]
        self._stopped = self.done = False

    def event(self, event: Event) -> None:
        if event["event"] != "decision" or self.done:
            return
        if self._stopped:  # it has its request, since this one is to the other worker
            assert event["worker"] == 1
            os.kill(self._worker, signal.SIGKILL)
            self.done = True
        elif event["trial"] == 0 and len(self.history.trials[0].segments) == 2:
            os.kill(self._worker, signal.SIGSTOP)
            self._stopped = True


def test_a_dead_worker_costs_its_segment_not_its_trial(tmp_path: Path) -> None:
    sound = settings_of(tmp_path / "sound", pruner="median")
    asked = settings_of(tmp_path / "murder", pruner="median")
    whole = run(local(sound, 2), sound)
    pool = processes(asked, 2)
    murder = Murder(pool)
    result = run(pool, asked, murder)
    assert murder.done
    assert trials(result) == trials(whole)
    assert result.confirmation == whole.confirmation
    assert result.history.training_tokens == whole.history.training_tokens
    dearest = SEGMENT * (1 + 4 / 3) + whole.facts.validation_cost
    assert result.cost - whole.cost == pytest.approx(dearest)


@pytest.mark.usefixtures("faulty_path")
def test_a_second_death_in_the_same_segment_ends_the_trial(tmp_path: Path) -> None:
    sound = settings_of(tmp_path / "sound", agent="random")
    asked = settings_of(tmp_path / "deaths", agent="random")
    whole = run(local(sound), sound)
    twice = {"what": "die", "trial": 1, "segment": 2, "times": 2}
    log = tmp_path / "workers.log"
    result = run(ProcessPool(FAULTY, faulty(asked, twice), 1, log), asked)
    died = result.trials[1]
    assert died.outcome is Outcome.FAILED
    assert died.reason == "its worker died twice in the same segment"
    assert died.segments == whole.trials[1].segments[:2]
    others = [[told(t) for t in study.trials if t.id != 1] for study in (result, whole)]
    both = min(map(len, others))
    assert both >= 4
    assert others[0][:both] == others[1][:both]
    finished = sum(trial.trained_tokens for trial in result.trials)
    assert result.history.training_tokens == finished + SEGMENT


HANG = """
import sys
from pathlib import Path
from hpopt.pool.processes import ProcessPool
from hpopt_envs.messages import Advance, Start
folder = Path(sys.argv[1])
faults = [{"what": "hang", "trial": None, "segment": 0, "times": 9}]
environment = {"faults": faults, "folder": str(folder)}
pool = ProcessPool("faulty_env:make_env", environment, 2, folder / "log")
for worker in range(2):
    pool.submit(worker, Start(worker, seed=0))
    pool.collect(worker)
    pool.submit(worker, Advance((0.0,) * 4))
print(*pool.process_ids(), flush=True)
pool.collect()
"""


def runs(process: int) -> bool:
    """Whether a process is there, and more than a zombie that nobody waits for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.usefixtures("faulty_path")
def test_workers_end_with_their_parent_in_the_middle_of_a_segment(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", HANG, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        workers = [int(word) for word in output.readline().split()]
    assert len(workers) == 2
    while len(list(tmp_path.glob("0-*"))) < 2:
        assert parent.poll() is None
        time.sleep(0.01)
    assert all(map(runs, workers))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30.0
    while any(map(runs, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_replies_as_they_come_are_journaled_as_they_came(tmp_path: Path) -> None:
    """Random proposals don't depend on the order of the replies, so that trials can be told."""
    sound = settings_of(tmp_path / "sound", agent="random", trials=8)
    asked = settings_of(tmp_path / "any", agent="random", trials=8, workers=2, in_order=False)
    whole = {trial.id: told(trial) for trial in run(local(sound), sound).trials}

    def stop(event: Event) -> None:
        if event["event"] == "reply" and event["trial"] == 4:
            raise KeyboardInterrupt

    journal, pool = begin(asked)
    with pytest.raises(KeyboardInterrupt):
        go_on(journal, pool, asked, Watch(stop))
    before = journal.path.read_bytes()
    result = go_on(Journal.open(journal.path), local(asked, 2), asked)
    assert journal.path.read_bytes().startswith(before)
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


@pytest.mark.parametrize(
    ("factory", "settings", "line"),
    [
        (FACTORY, {"task": "no such task"}, "no such task"),
        ("os:_exit", {"status": 3}, "a worker must start, but it died; its errors are in .*log"),
    ],
)
def test_a_worker_that_cannot_start_is_refused_with_its_line(
    factory: str, settings: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=line) as refused:
        ProcessPool(factory, settings, 1, tmp_path / "workers.log")
    assert "\n" not in str(refused.value)
