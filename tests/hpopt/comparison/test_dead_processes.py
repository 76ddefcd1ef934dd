"""A comparison's processes that die or hang are replaced, and their studies go on."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from hpopt.comparison.running import Job, JobProcess, run_jobs
from hpopt.record.folders import StudyFolder
from tests.hpopt.asking import asked


def job_of(runs: Path) -> Job:
    settings = asked(
        {
            "task": "simulated",
            "agent": "random",
            "confirm_seeds": 0,
            "name": "otter",
            "runs": str(runs),
        }
    )
    request = {"settings": settings.flat(), "about": {}, "equivalents": 100}
    return Job("simulated", "otter", StudyFolder(runs / "otter"), request)


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGSTOP])
def test_a_study_outlives_its_process(fatal: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    job, done = job_of(tmp_path / "runs"), []
    process = JobProcess(tmp_path / "log", silence_limit=10.0)
    first = process.id

    def strike() -> None:
        while not job.folder.has_begun:
            time.sleep(0.01)
        os.kill(first, fatal)

    threading.Thread(target=strike).start()
    begun: list[Job] = []
    run_jobs([job], [process], begun.append, lambda _, came: done.append(came["value"]))
    assert begun == [job]
    assert process.id != first
    process.close()
    assert job.folder.read().best is not None
    assert len(done) == 1
