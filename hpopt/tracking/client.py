"""The study's side of the record: starts the process that writes it, and hears how that goes."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

from ..record.files import drop_empty, open_log
from ..settings.study import Level
from . import Ending, Incomplete, links

SHOWN = 3  # of what MLflow refuses


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
        self._resumable = True
        self._refused: list[str] = []
        self._place: list[str] = []  # ids of the experiment and of the study's run
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

    def placed(self) -> None:
        """Take note that the record has a place by now, of which there are addresses."""

    @property
    def chart(self) -> str | None:
        """The address of the experiment's chart; None while it isn't known."""
        return links.chart(links.pages(self._uri), self._place[0]) if self._place else None

    @property
    def run(self) -> str | None:
        """The address of the study's own page; None while it isn't known."""
        return links.run(links.pages(self._uri), *self._place) if self._place else None

    def finish(self, ending: Ending, timeout: float = 120.0) -> Incomplete | None:
        """Say how the study ended, and wait until the rest is written.

        Args:
            ending: how the study ended.
            timeout: seconds after which the process is killed.

        Returns:
            What is missing in the record; None where it is complete.
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
            return Incomplete(f"MLflow took longer than {timeout:g} s to write the rest")
        self._listener.join()
        drop_empty(self._log)
        if self.error is not None:
            return Incomplete(self.error, self._resumable)
        return _refusal(self._refused) if self._refused else None

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
                self._resumable = status.get("resumable", True)
                self.written += status.get("written", 0)
                self._refused += status.get("refused", [])
                if "ready" in status:
                    self._place = status["ready"]
                    self.placed()
        code = self._process.wait()
        if code and self.error is None:
            self.error = f"the process that writes to MLflow ended with {code}; see {self._log}"


def _refusal(refused: Sequence[str]) -> Incomplete:
    """Return what is said of entities that MLflow never takes."""
    more = f" and {len(refused) - SHOWN:,} more" if len(refused) > SHOWN else ""
    named = ", ".join(refused[:SHOWN])
    return Incomplete(f"MLflow refuses {named}{more}; everything else is there", resumable=False)


class ComparisonTracking(TrackingProcess):
    """Writes a comparison's studies to MLflow while they run, and then the verdict.

    Args:
        comparison: folder of the comparison.
        uri: MLflow tracking URI.
        experiment: its name, made if it is new.
        level: "parents" leaves the trials' runs out.
        searchers: labels of who takes part, in their order.
        watch: called, from another thread, with the address of the studies' curves, once there is
            one.
    """

    _main = "from hpopt.tracking.comparison import main; main()"

    def __init__(
        self,
        comparison: Path,
        uri: str,
        experiment: str,
        level: Level,
        searchers: Sequence[str],
        watch: Callable[[str], None],
    ) -> None:
        super().__init__(comparison, uri, experiment, level)
        self._watch = watch
        self._arguments += searchers

    def placed(self) -> None:
        self._watch(links.studies(links.pages(self._uri), self._place[0]))

    def follow(self, study: Path) -> None:
        """Write a study that begins, while it runs."""
        self._tell({"begun": str(study)})

    def add(self, study: Path) -> None:
        """Write the rest of a study that ended."""
        self._tell({"ended": str(study)})
