"""Running a comparison: which studies, in which order, in which process, and what was done before.

A finished study isn't run again, and one that was cut off goes on where it stopped.
"""

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StudyError
from ..record.files import drop_empty
from ..record.folders import StudyFolder


@dataclass(frozen=True)
class Job:
    """A study of a comparison, or the confirmation of a task's best ones.

    Attributes:
        task: that must be loaded for it.
        what: it is, in words.
        folder: of its journal.
        request: what the process that runs it is told.
    """

    task: str
    what: str
    folder: StudyFolder
    request: dict[str, Any]


class JobProcess:
    """A worker process, see `worker`."""

    def __init__(self, log: Path) -> None:
        command = "from hpopt.comparison.worker import main; main()"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log
        self.task = ""

    def run(self, job: Job) -> dict[str, Any]:
        """Run a job; return what came of it.

        Raises:
            StudyError: the study can't be run, or the process died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.task = job.task
        try:
            self._process.stdin.write(json.dumps(job.request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise StudyError(f"{job.what}: its process died; its errors are in {self._log}")
        done: dict[str, Any] = json.loads(line)
        if "error" in done:
            raise StudyError(f"{job.what}: {done['error']}")
        return done

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def job_processes(number: int, log: Path) -> Iterator[list[JobProcess]]:
    """So many processes, ended when the block is left, however that happens."""
    processes = [JobProcess(log) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.close()
        drop_empty(log)


def run_jobs(
    jobs: list[Job],
    processes: list[JobProcess],
    begun: Callable[[Job], None],
    finished: Callable[[Job, dict[str, Any]], None],
) -> None:
    """Run jobs over all processes, each of which stays with a task while that has jobs left.

    Args:
        jobs: in the order in which they are wanted.
        processes: idle ones.
        begun: called with each job before it runs, in this thread.
        finished: called with each job that ended, in this thread.

    Raises:
        StudyError: a job failed; others under way are cut off.
    """
    waiting, idle = deque(jobs), list(processes)
    running: dict[Future[dict[str, Any]], tuple[Job, JobProcess]] = {}
    with ThreadPoolExecutor(len(processes)) as threads:
        try:
            while waiting or running:
                while waiting and idle:
                    process = idle.pop(0)
                    job = _next_job(waiting, process, [p for _, p in running.values()])
                    begun(job)
                    running[threads.submit(process.run, job)] = job, process
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    job, process = running.pop(done)
                    finished(job, done.result())
                    idle.append(process)
        except BaseException:
            for process in processes:  # so that their threads end too
                process.close()
            raise


def _next_job(waiting: deque[Job], process: JobProcess, busy: list[JobProcess]) -> Job:
    """Take a job of the process's task, else of a task that no other process has, else any."""
    others = {other.task for other in busy}
    mine = next((job for job in waiting if job.task == process.task), None)
    free = next((job for job in waiting if job.task not in others), None)
    job = mine or free or waiting[0]
    waiting.remove(job)
    return job
