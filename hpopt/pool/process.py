"""One worker's process: how it is started, what is said to it, and how long it may say nothing."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

SLICE = 1.0  # seconds that are waited for at a time


class WorkerProcess:
    """A process that is told JSON lines and answers in JSON lines.

    Args:
        module: whose `main` it runs.
        log: where its standard error goes.
        environment: variables that it has beside ours.

    Attributes:
        silence: seconds for which it was waited for since it was last told something.
    """

    def __init__(
        self, module: str, log: IO[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {module} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
        self._read = b""  # of a line that isn't whole yet
        self.silence = 0.0

    @property
    def id(self) -> int:
        """The process's."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it did."""
        return self._process.poll() is not None

    def tell(self, line: str) -> None:
        """Say something to it; where it is dead by now, its output turns out to have ended."""
        self.silence = 0.0
        with contextlib.suppress(BrokenPipeError):
            _pipe(self._process.stdin).write(line.encode() + b"\n")
            _pipe(self._process.stdin).flush()

    @property
    def output(self) -> int:
        """The file that becomes readable when it answers, or ends."""
        return _pipe(self._process.stdout).fileno()

    def read(self) -> bool:
        """Take in what it wrote, which may be a part of a line; False where it ended."""
        data = os.read(self.output, 65536)
        self._read += data
        return bool(data)

    def answer(self) -> Mapping[str, Any] | None:
        """Return its next answer; None where that isn't whole yet."""
        if b"\n" not in self._read:
            return None
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End it, whatever it is doing: what a trial needs is in its snapshots."""
        self._process.kill()
        self._process.wait()
        _pipe(self._process.stdout).close()
        with contextlib.suppress(BrokenPipeError):  # its last request was still in our buffer
            _pipe(self._process.stdin).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def first_answer(
    workers: Mapping[int, WorkerProcess], limit: float
) -> tuple[int, Mapping[str, Any] | None]:
    """Wait for the first of some processes to answer, to end, or to be silent for too long.

    Args:
        workers: by number.
        limit: seconds of silence.

    Returns:
        A number, and the answer; None where it ended, or was silent for too long.
    """
    files = {workers[number].output: number for number in workers}
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    while True:
        began = time.monotonic()
        ready = [files[file] for file, _ in poll.poll(1000 * SLICE)]
        # Not the time for which this process was stopped too, say by Ctrl-Z.
        waited = min(time.monotonic() - began, 2 * SLICE)
        for worker in workers.values():
            worker.silence += waited
        for number in ready:
            ended = not workers[number].read()
            answer = workers[number].answer()
            if ended or answer is not None:
                return number, answer
        for number, worker in workers.items():
            if worker.silence >= limit:
                return number, None
