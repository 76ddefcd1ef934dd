"""The process that follows a study's journal and writes it to MLflow (see `client`).

Its standard input ends when the study does: a line {"end": "finished"}, "killed" or "failed"
says how, and an end without one means that the study's process was killed. Its standard output
carries {"ready": true}, {"written": metrics} and {"error": "…"}, one JSON object a line.
"""

import contextlib
import fcntl
import json
import os
import select
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, cast

from ..record.folders import StudyFolder
from ..record.journal import JournalReader
from ..settings.study import Level
from . import Ending
from .projection import Projection
from .store import ENVIRONMENT

POLL_SECONDS = 1.0
RETRY_SECONDS = 10.0  # after a failure


class _Session:
    """A journal followed from its beginning into MLflow."""

    def __init__(self, study: Path, uri: str, experiment: str, level: Level) -> None:
        self._study = study
        self._reader = JournalReader(StudyFolder(study).journal)
        header, *self._events = self._reader.poll()
        self._projection = Projection(uri, experiment, level, header)

    def write(self) -> int:
        for event in [*self._events, *self._reader.poll()]:
            self._projection.apply(event)
        self._events = []
        return self._projection.flush()

    def finish(self, ending: Ending) -> None:
        self._projection.finish(ending, self._study)


class _Ending:
    """Standard input, watched for the study's end."""

    def __init__(self) -> None:
        self._read = b""

    def wait(self, seconds: float) -> Ending | None:
        """How the study ended; None if it didn't within that time."""
        deadline = time.monotonic() + seconds
        while select.select([0], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data = os.read(0, 4096)
            self._read += data
            line, newline, _ = self._read.partition(b"\n")
            if newline:
                return cast(Ending, json.loads(line)["end"])
            if not data:
                return "killed"
        return None


def report(channel: int, status: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the study may be gone: the rest is written all the same
        os.write(channel, json.dumps(status).encode() + b"\n")


def take_channel() -> int:
    """Our standard output, kept from others: MLflow prints addresses of runs there."""
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def _lock(study: Path) -> int:
    """Waits until no other process writes this study's record; ours until we end."""
    file = os.open(study / "tracking.lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main() -> None:
    """Follows a journal to its study's end.

    Arguments: the study's folder, MLflow's tracking URI, the experiment, and the level: "trials",
    or "parents" for the study's run alone.
    """
    study, uri, experiment, level = Path(sys.argv[1]), *sys.argv[2:]
    os.nice(10)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    channel, ending, session, wait = take_channel(), _Ending(), None, 0.0
    _lock(study)
    while True:
        end = ending.wait(wait)
        try:
            if session is None:
                session = _Session(study, uri, experiment, cast(Level, level))
                report(channel, {"ready": True})
            if written := session.write():
                report(channel, {"written": written})
            if end is not None:
                session.finish(end)
                return
            wait = POLL_SECONDS
        except Exception as error:  # whatever it is, the study must go on
            text = str(error) or type(error).__name__
            report(channel, {"error": textwrap.shorten(text, 300)})
            session, wait = None, RETRY_SECONDS
            if end is not None:
                sys.exit(1)
