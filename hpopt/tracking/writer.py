"""The process that follows a study's journal and writes it to MLflow (see `client`).

Its standard input ends when the study does: a line {"end": "finished"}, "killed" or "failed"
says how, and an end without one means that the study's process was killed.
"""

import sys
from pathlib import Path
from typing import cast

from ..record.files import free_lock, take_lock
from ..settings.study import Level
from .channel import Inbox, open_channel, read_uri, report, report_failure
from .session import POLL_SECONDS, RETRY_SECONDS, Session


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
    inbox, session, wait = Inbox(), None, 0.0
    while True:
        message = inbox.wait(wait)
        try:
            if session is None:
                session = Session(study, uri, experiment, level)
                report(channel, {"ready": session.projection.place})
            if written := session.write():
                report(channel, {"written": written})
            if message is not None:
                session.finish(message["end"])
                report(channel, {"refused": session.projection.refused})
                return True
            wait = POLL_SECONDS
        except Exception as error:  # whatever it is, the study must go on
            report_failure(channel, error, uri)
            session, wait = None, RETRY_SECONDS
            if message is not None:
                return False
