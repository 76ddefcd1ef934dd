"""Workers in processes of their own, on this machine."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpopt_envs.messages import Reply, Request, reply_from_json, to_json
from hpopt_envs.records import RunFacts
from hpopt_search_spaces import SearchSpace

from ..errors import Paused, StudyError
from ..record.files import drop_empty, open_log
from .process import WorkerProcess, first_answer

WORKER = "HPOPT_WORKER"  # a worker's number; `hpopt_envs.scripts.devices` shares devices out by it
STARTS = 5  # of a worker, before it is clear that none will ever start
SECONDS_BETWEEN_STARTS = 0.5  # more each time: what kills them may be over by then
# Seconds of silence, where nobody asks for others:
UNMEASURED = 3600.0  # before the first start, as a model may have to be downloaded, and segment
LEAST = 600.0
SEGMENTS = 20.0  # times as long as the longest segment
STARTS_LONG = 5.0  # times as long as the longest start, for another start


class ProcessPool:
    """See `Pool`.

    Args:
        factory: "module:function" that builds an environment.
        settings: its arguments.
        size: number of workers.
        log: where the workers' standard error goes.
        in_order: collect replies in the order of submission, so that a study doesn't depend on
            timing; otherwise the first to be ready comes first.
        silence_limit: seconds after which a worker that doesn't answer counts as dead; None for
            what the longest segment so far suggests.

    Raises:
        StudyError: an environment can't be built; the text is the worker's own line.
    """

    def __init__(
        self,
        factory: str,
        settings: Mapping[str, Any],
        size: int,
        log: Path,
        in_order: bool = True,
        silence_limit: float | None = None,
    ) -> None:
        self.size = size
        self._first_line = json.dumps({"factory": factory, "settings": dict(settings)})
        self._path, self._log = log, open_log(log)
        self._in_order = in_order
        self._asked_limit = silence_limit
        self._longest = 0.0  # seconds that a segment took
        self._longest_start = 0.0
        self._waiting: list[int] = []
        self._dead: set[int] = set()
        self._workers: list[WorkerProcess] = []
        try:
            for worker in range(size):
                self._workers.append(self._spawn(worker))
            hellos = [self._greet(worker) for worker in range(size)]
        except BaseException:
            self.close()
            raise
        self.facts = RunFacts(**hellos[0]["facts"])
        self.space = SearchSpace.from_dict(hellos[0]["space"])

    @property
    def silence_limit(self) -> float | None:
        """Seconds after which a silent worker counts as dead; None before a segment's end."""
        if self._asked_limit is not None:
            return self._asked_limit
        return max(LEAST, SEGMENTS * self._longest) if self._longest else None

    def _spawn(self, worker: int) -> WorkerProcess:
        process = WorkerProcess("hpopt.pool.worker", self._log, {WORKER: str(worker)})
        process.tell(self._first_line)
        return process

    def _greet(self, worker: int) -> Mapping[str, Any]:
        """Wait until a worker is up: one that is killed while it starts is started again."""
        for start in range(STARTS):
            if start:
                self._workers[worker].end()
                time.sleep(SECONDS_BETWEEN_STARTS * (start - 1))
                self._workers[worker] = self._spawn(worker)
            _, hello = first_answer({worker: self._workers[worker]}, self._start_limit())
            if hello is None:
                continue
            if "error" in hello:
                raise StudyError(hello["error"])
            self._longest_start = max(self._longest_start, self._workers[worker].silence)
            return hello
        raise Paused(
            f"a worker must start, but it died {STARTS} times; its errors are in {self._path}"
        )

    def _start_limit(self) -> float:
        if not self._longest_start:
            return UNMEASURED
        return max(self.silence_limit or LEAST, STARTS_LONG * self._longest_start)

    def submit(self, worker: int, request: Request) -> None:
        if worker in self._dead:
            self._workers[worker] = self._spawn(worker)
            self._greet(worker)
            self._dead.discard(worker)
        self._waiting.append(worker)
        self._workers[worker].tell(json.dumps(to_json(request)))

    def collect(self, worker: int | None = None) -> tuple[int, Reply]:
        if worker is not None:
            awaited = [worker]
        else:
            awaited = self._waiting[:1] if self._in_order else self._waiting
        limit = self.silence_limit or UNMEASURED
        number, answer = first_answer({n: self._workers[n] for n in awaited}, limit)
        self._waiting.remove(number)
        if answer is not None:
            reply = reply_from_json(answer)
            if reply.segment is not None:
                self._longest = max(self._longest, reply.segment.wall_seconds)
            return number, reply
        self._workers[number].end()
        self._dead.add(number)
        return number, Reply(died=True)

    def process_ids(self) -> list[int]:
        """Return the workers' process ids."""
        return [worker.id for worker in self._workers]

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._log.close()
        drop_empty(self._path)
