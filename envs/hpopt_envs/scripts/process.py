"""A process of the user's own, which doesn't outlive us."""

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
# Told a process group, it waits for our word or, where we die, our end of the pipe, and then ends
# the group. A shell, since it must live on without us, and costs a millisecond.
_WATCHDOG = """
read group && read done && exit
kill -s TERM -- -$group || exit
for second in $(seq $0); do sleep 1; kill -s 0 -- -$group || exit; done
kill -s KILL -- -$group
"""


class ScriptProcess:
    """A process in a group of its own, with a watchdog that ends the group should we die.

    Args:
        arguments: the program first; no shell sees them.
        folder: for `stdout.txt` and `stderr.txt`.
        environment: of the process.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.stdout, self.stderr = folder / "stdout.txt", folder / "stderr.txt"
        # First the watchdog, so that we can't die between the two.
        self._watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, str(int(GRACE))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            with open(self.stdout, "wb") as out, open(self.stderr, "wb") as err:
                self._process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=dict(environment),
                    start_new_session=True,
                )
        except OSError:
            self._dismiss("0")
            raise
        self._tell(str(self._process.pid))
        self._file = os.pidfd_open(self._process.pid)
        self._ended = False

    def wait(self, seconds: float) -> bool:
        """Wait for its end for so long at most; return whether it has ended."""
        if not self._ended:
            poll = select.poll()
            poll.register(self._file, select.POLLIN)
            self._ended = bool(poll.poll(1000 * seconds))
        return self._ended

    def end(self) -> int:
        """End it and all of its group, kindly at first; return its exit status, as `Popen` has it.

        What it left running behind is ended too.
        """
        if self._process.returncode is None:
            if not self.wait(0.0):
                self._signal(signal.SIGTERM)
                self.wait(GRACE)
            # While it isn't reaped its number can't be another's.
            self._signal(signal.SIGKILL)
            self._process.wait()
            os.close(self._file)
            self._dismiss("done")
        return int(self._process.returncode)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _tell(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        with suppress(BrokenPipeError):
            self._watchdog.stdin.write(line.encode() + b"\n")
            self._watchdog.stdin.flush()

    def _dismiss(self, line: str) -> None:
        """End the watchdog, whose group is over."""
        self._tell(line)
        self._watchdog.kill()
        self._watchdog.wait()
        assert self._watchdog.stdin is not None
        with suppress(BrokenPipeError):
            self._watchdog.stdin.close()
