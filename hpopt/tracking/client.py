"""The study's side of the record: starts the process that writes it, and hears how that goes."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

from ..record.files import drop_empty, open_log
from ..settings.study import Level
from . import Ending


class TrackingProcess:
    """Writes a study's journal to MLflow in a process of its own; it never fails the study.

    Args:
        study: folder that holds the journal.
        uri: MLflow tracking URI.
        experiment: its name, made if it is new.
        level: "parents" leaves the trials' runs out.

    Attributes:
        error: what is wrong with the record at the moment, in one line; None while all is well.
        written: metrics written so far.
    """

    _main = "from hpopt.tracking.writer import main; main()"

    def __init__(self, study: Path, uri: str, experiment: str, level: Level) -> None:
        self.error: str | None = None
        self.written = 0
        self._uri = uri
        self._arguments = [str(study), experiment, level]
        self._log = study / "tracking.log"

    def start(self) -> None:
        """Start the process; what it prints goes to `tracking.log` in the study's folder."""
        path = os.pathsep.join(filter(None, sys.path))  # ours, however it came about
        with open_log(self._log) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._main, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the study, which then ends the record
            )
        self._tell({"uri": self._uri})  # others can read the arguments of a process
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def finish(self, ending: Ending, timeout: float = 120.0) -> str | None:
        """Say how the study ended, and wait until the rest is written.

        Args:
            ending: how the study ended.
            timeout: seconds after which the process is killed.

        Returns:
            What is missing in the record and why, in one line; None where it is complete.
        """
        assert self._process.stdin is not None
        self._tell({"end": ending})
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._listener.join()
            return f"MLflow took longer than {timeout:g} s to write the rest"
        self._listener.join()
        drop_empty(self._log)
        return self.error

    def _tell(self, message: dict[str, str]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone: `_listen` says so
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as reports:
            for line in reports:
                status = json.loads(line)
                self.error = status.get("error")
                self.written += status.get("written", 0)
        code = self._process.wait()
        if code and self.error is None:
            self.error = f"the process that writes to MLflow ended with {code}; see {self._log}"


class ComparisonTracking(TrackingProcess):
    """Writes a comparison's studies to MLflow, each when it has ended, and then the verdict.

    Args:
        comparison: folder of the comparison.
        uri: MLflow tracking URI.
        experiment: its name, made if it is new.
        level: "parents" leaves the trials' runs out.
    """

    _main = "from hpopt.tracking.comparison import main; main()"

    def add(self, study: Path) -> None:
        """Write a study that ended."""
        self._tell({"study": str(study)})
