"""Running a comparison: which studies, in which order, in which process, and what was done before.

A finished study isn't run again, and one that was cut off goes on where it stopped.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StudyError
from ..pool.process import SLICE, WorkerProcess, first_answer
from ..pool.processes import UNMEASURED, WORKER
from ..record.files import drop_empty, open_log
from ..record.folders import StudyFolder

TRIES = 5  # of a job whose process dies


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
    """A worker process, see `worker`; one that dies or hangs is replaced, and its job goes on.

    Args:
        log: where its standard error goes.
        silence_limit: seconds for which the journal of its job may not grow.
        variables: of its environment, beside ours.
    """

    def __init__(
        self, log: Path, silence_limit: float, variables: Mapping[str, str] | None = None
    ) -> None:
        self._path, self._log = log, open_log(log)
        self._limit, self._variables = silence_limit, variables
        self._worker = self._spawn()
        self._closed = False
        self.task = ""

    def _spawn(self) -> WorkerProcess:
        return WorkerProcess("hpopt.comparison.worker", self._log, self._variables)

    @property
    def id(self) -> int:
        """The process's."""
        return self._worker.id

    def run(self, job: Job) -> Mapping[str, Any]:
        """Run a job; return what came of it.

        Raises:
            StudyError: the study can't be run, or process after process died.
        """
        self.task = job.task
        for _ in range(TRIES):
            self._worker.tell(json.dumps(job.request))
            done = self._answer(job)
            if done is not None:
                if "error" in done:
                    raise StudyError(f"{job.what}: {done['error']}")
                return done
            if self._closed:
                break
            self._worker.end()
            self._worker = self._spawn()
        raise StudyError(
            f"{job.what}: its process died {TRIES} times; its errors are in {self._path}"
        )

    def _answer(self, job: Job) -> Mapping[str, Any] | None:
        """Wait for what came of a job; None where its process died, or nothing happens any more."""
        length = -1
        while True:
            _, done = first_answer({0: self._worker}, self._worker.silence + SLICE)
            if done is not None or self._closed or self._worker.ended:
                return done
            journal = job.folder.journal
            now = journal.stat().st_size if journal.is_file() else -1
            if now != length:
                length, self._worker.silence = now, 0.0
            elif self._worker.silence >= self._limit:
                return None

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        self._worker.end()
        self._log.close()


@contextmanager
def job_processes(
    number: int, log: Path, silence_limit: float | None
) -> Iterator[list[JobProcess]]:
    """Open so many processes, ended when the block is left, however that happens."""
    limit = silence_limit or UNMEASURED
    # One alone leaves all devices to its scripts.
    places = [{WORKER: str(worker)} if number > 1 else {} for worker in range(number)]
    processes = [JobProcess(log, limit, place) for place in places]
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
    finished: Callable[[Job, Mapping[str, Any]], None],
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
    running: dict[Future[Mapping[str, Any]], tuple[Job, JobProcess]] = {}
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
