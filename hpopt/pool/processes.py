"""Workers in processes of their own, on this machine."""

import contextlib
import json
import selectors
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from hpopt_envs.messages import Reply, Request, reply_from_json, to_json
from hpopt_envs.records import RunFacts
from hpopt_search_spaces import SearchSpace

from ..errors import StudyError
from ..record.files import drop_empty

_COMMAND = [sys.executable, "-c", "from hpopt.pool.worker import main; main()"]


class ProcessPool:
    """See `Pool`.

    Args:
        factory: "module:function" that builds an environment.
        settings: its arguments.
        size: number of workers.
        log: where the workers' standard error goes.
        in_order: collect replies in the order of submission, so that a study doesn't depend on
            timing; otherwise the first to be ready comes first.

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
    ) -> None:
        self.size = size
        self._first_line = json.dumps({"factory": factory, "settings": dict(settings)})
        self._log = log.open("a")
        self._in_order = in_order
        self._waiting: list[int] = []
        self._dead: set[int] = set()
        self._workers: list[subprocess.Popen[str]] = []
        try:
            for _ in range(size):
                self._workers.append(self._spawn())
            hellos = [self._greet(worker) for worker in range(size)]
        except BaseException:
            self.close()
            raise
        self.facts = RunFacts(**hellos[0]["facts"])
        self.space = SearchSpace.from_dict(hellos[0]["space"])

    def _spawn(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        with contextlib.suppress(BrokenPipeError):  # it died at once: its greeting will be missing
            _pipe(process.stdin).write(self._first_line + "\n")
            _pipe(process.stdin).flush()
        return process

    def _greet(self, worker: int) -> dict[str, Any]:
        line = _pipe(self._workers[worker].stdout).readline()
        if not line.endswith("\n"):
            raise StudyError(
                f"a worker must start, but it died; its errors are in {self._log.name}"
            )
        hello: dict[str, Any] = json.loads(line)
        if "error" in hello:
            raise StudyError(hello["error"])
        return hello

    def submit(self, worker: int, request: Request) -> None:
        if worker in self._dead:
            self._dead.discard(worker)
            self._workers[worker] = self._spawn()
            self._greet(worker)
        self._waiting.append(worker)
        try:
            pipe = _pipe(self._workers[worker].stdin)
            pipe.write(json.dumps(to_json(request)) + "\n")
            pipe.flush()
        except BrokenPipeError:
            pass  # it died while idle: collecting finds its output ended

    def collect(self, worker: int | None = None) -> tuple[int, Reply]:
        if worker is None:
            worker = self._waiting[0] if self._in_order else self._first_ready()
        self._waiting.remove(worker)
        line = _pipe(self._workers[worker].stdout).readline()
        if line.endswith("\n"):
            return worker, reply_from_json(json.loads(line))
        self._end(self._workers[worker])
        self._dead.add(worker)
        return worker, Reply(died=True)

    def _first_ready(self) -> int:
        # A worker has at most one reply under way, so that nothing waits in a buffer of ours.
        with selectors.DefaultSelector() as selector:
            for worker in self._waiting:
                selector.register(_pipe(self._workers[worker].stdout), selectors.EVENT_READ, worker)
            return int(selector.select()[0][0].data)

    def process_ids(self) -> list[int]:
        """Return the workers' process ids."""
        return [process.pid for process in self._workers]

    def close(self) -> None:
        for process in self._workers:
            self._end(process)
        self._log.close()
        drop_empty(Path(self._log.name))

    @staticmethod
    def _end(process: "subprocess.Popen[str]") -> None:
        process.kill()  # what a trial needs is in its snapshots
        process.wait()
        _pipe(process.stdout).close()
        with contextlib.suppress(BrokenPipeError):  # its last request was still in our buffer
            _pipe(process.stdin).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
