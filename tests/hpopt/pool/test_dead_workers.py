"""Worker processes that die, or whose parent does, cost the segment they were in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.pool.processes import ProcessPool
from hpopt.record.lines import Event
from hpopt.study.display import Display
from hpopt.study.opening import FACTORY
from hpopt_envs.records import Outcome
from tests.hpopt.pool.pooled import (
    FAULTY,
    SEGMENT,
    faulty,
    local,
    processes,
    run,
    settings_of,
    told,
    trials,
)
from tests.hpopt.searching import final_of


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
    assert final_of(result) == final_of(whole)
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


@pytest.mark.usefixtures("faulty_path")
def test_deaths_while_workers_start_cost_nothing(tmp_path: Path) -> None:
    sound = settings_of(tmp_path / "sound", agent="random", trials=3)
    asked = settings_of(tmp_path / "deaths", agent="random", trials=3)
    whole = run(local(sound), sound)
    starting = {"what": "die", "trial": None, "segment": None, "times": 2}
    training = {"what": "die", "trial": 1, "segment": 2, "times": 1}
    environment = faulty(asked, starting, training)
    pool = ProcessPool(FAULTY, environment, 1, tmp_path / "workers.log")
    for mark in Path(environment["folder"]).glob("0-*"):
        mark.unlink()  # so that its replacement dies twice as well
    result = run(pool, asked)
    assert len(list(Path(environment["folder"]).iterdir())) == 3
    assert trials(result) == trials(whole)


@pytest.mark.usefixtures("faulty_path")
@pytest.mark.parametrize("in_order", [True, False])
def test_a_worker_that_hangs_counts_as_dead(in_order: bool, tmp_path: Path) -> None:
    sound = settings_of(tmp_path / "sound", agent="random", trials=3)
    asked = settings_of(tmp_path / "hung", agent="random", trials=3)
    whole = run(local(sound), sound)
    hang = {"what": "hang", "trial": 1, "segment": 2, "times": 1}
    log = tmp_path / "workers.log"
    result = run(ProcessPool(FAULTY, faulty(asked, hang), 2, log, in_order, 2.0), asked)
    assert {t.id: told(t) for t in result.trials} == {t.id: told(t) for t in whole.trials}
    assert result.history.training_tokens == whole.history.training_tokens
    assert result.cost > whole.cost  # the segment is charged twice


def test_a_silence_is_long_beside_the_longest_segment(tmp_path: Path) -> None:
    asked = settings_of(tmp_path / "short", trials=1)
    pool = processes(asked, 1)
    assert pool.silence_limit is None
    limits = []

    class Watching(Display):
        def event(self, event: Event) -> None:
            if event["event"] == "reply" and event["reply"]["segment"] is not None:
                limits.append(pool.silence_limit)

    run(pool, asked, Watching())
    assert set(limits) == {600.0}


HANG = """
import sys
from pathlib import Path
from hpopt.pool.processes import ProcessPool
from tests.hpopt.searching import final_of
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


@pytest.mark.parametrize(
    ("factory", "settings", "line"),
    [
        (FACTORY, {"task": "no such task"}, "no such task"),
        (
            "os:_exit",
            {"status": 3},
            "a worker must start, but it died 5 times; its errors are in .*log",
        ),
    ],
)
def test_a_worker_that_cannot_start_is_refused_with_its_line(
    factory: str, settings: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=line) as refused:
        ProcessPool(factory, settings, 1, tmp_path / "workers.log")
    assert "\n" not in str(refused.value)
