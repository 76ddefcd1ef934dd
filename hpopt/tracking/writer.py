"""The process that follows a study's journal and writes it to MLflow (see `client`).

Its standard input ends when the study does: a line {"end": "finished"}, "killed" or "failed"
says how, and an end without one means that the study's process was killed.
"""

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import cast

from ..record.files import free_lock, take_lock
from ..record.folders import StudyFolder
from ..record.journal import JournalReader
from ..settings.study import Level
from . import Ending
from .channel import open_channel, read_uri, report, report_failure
from .projection import Projection

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
        """Return how the study ended; None if it didn't within that time."""
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


def main() -> None:
    """Follow a journal to its study's end.

    Arguments: the study's folder, the experiment, and the level: "trials", or "parents" for the
    study's run alone.
    """
    study, experiment, level = Path(sys.argv[1]), *sys.argv[2:]
    channel, uri, path = open_channel(), read_uri(), study / "tracking.lock"
    lock = take_lock(path)  # no other process writes this study's record then
    try:
        complete = _follow(study, uri, experiment, cast(Level, level), channel)
    finally:
        free_lock(path, lock)
    sys.exit(not complete)


def _follow(study: Path, uri: str, experiment: str, level: Level, channel: int) -> bool:
    """Write a journal to MLflow until its study ends; returns whether the record is complete."""
    ending, session, wait = _Ending(), None, 0.0
    while True:
        end = ending.wait(wait)
        try:
            if session is None:
                session = _Session(study, uri, experiment, level)
                report(channel, {"ready": True})
            if written := session.write():
                report(channel, {"written": written})
            if end is not None:
                session.finish(end)
                return True
            wait = POLL_SECONDS
        except Exception as error:  # whatever it is, the study must go on
            report_failure(channel, error, uri)
            session, wait = None, RETRY_SECONDS
            if end is not None:
                return False
