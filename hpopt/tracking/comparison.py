"""The process that writes a comparison to MLflow: its studies while they run, then the verdict.

Its standard input has a line {"begun": folder} for each study that begins, {"ended": folder} when
it did, and {"end": …} when the comparison does.
"""

import sys
import time
from pathlib import Path
from typing import cast

from ..record.folders import StudyFolder
from ..record.journal import JournalReader
from ..settings.study import Level
from .channel import Inbox, is_silence, open_channel, read_uri, report, report_failure
from .scoreboard import Scoreboard
from .session import POLL_SECONDS, RETRY_SECONDS, Session

RECORDED = "recorded"  # beside a study's journal, once its record is complete


def main() -> None:
    """Write what standard input names.

    Arguments: the comparison's folder, the experiment, the level, and the searchers' labels.
    """
    folder, experiment, level, *searchers = Path(sys.argv[1]), *sys.argv[2:]
    recorder = _Recorder(folder, experiment, cast(Level, level), searchers)
    sys.exit(not recorder.run())


class _Followed:
    """A study on its way to MLflow.

    Attributes:
        session: None before its first event, and after a failure.
        ended: whether nothing comes any more.
        wait_until: when it is tried again, of `time.monotonic`.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self.ended = False
        self.wait_until = 0.0


class _Recorder:
    """Follows the studies that run, and writes the scoreboard."""

    def __init__(self, folder: Path, experiment: str, level: Level, searchers: list[str]) -> None:
        self._folder, self._level = folder, level
        self._channel, self._uri, self._inbox = open_channel(), read_uri(), Inbox()
        self._experiment, self._searchers = experiment, searchers
        self._board: Scoreboard | None = None
        self._studies: dict[Path, _Followed] = {}
        self._refused: list[str] = []
        self._failure: Exception | None = None  # the last one

    def run(self) -> bool:
        """Write until the comparison ends; return whether the record is complete."""
        wait = 0.0
        while True:
            message = self._inbox.wait(wait)
            if message is None:
                self._write_all(last=False)
            elif "end" in message:
                return self._write_all(last=True) and self._finish(message["end"])
            else:
                self._take(message)
            wait = 0.0 if message is not None else POLL_SECONDS

    def _take(self, message: dict[str, str]) -> None:
        study = self._studies.setdefault(
            Path(message.get("begun") or message["ended"]), _Followed()
        )
        study.ended = "ended" in message

    def _write_all(self, last: bool) -> bool:
        """Write what came of every study; what has ended is done with.

        Args:
            last: there is no later time to try again.

        Returns:
            Whether the server answers.
        """
        for path, study in list(self._studies.items()):
            if not last and time.monotonic() < study.wait_until:
                continue
            try:
                if self._write(path, study):
                    del self._studies[path]
            except Exception as error:  # whatever it is, the comparison must go on
                self._fail(error)
                study.session, study.wait_until = None, time.monotonic() + RETRY_SECONDS
                if is_silence(error, self._uri):  # the others would wait as long, for nothing
                    for other in self._studies.values():
                        other.wait_until = study.wait_until
                    return False
        return True

    def _write(self, path: Path, study: _Followed) -> bool:
        """Write what happened in a study; return whether all of it is written."""
        if study.session is None:
            header = _first_event(path)
            if header is None:
                return study.ended
            parent = self._scoreboard().parent(header.get("searcher", ""))
            study.session = Session(path, self._uri, self._experiment, self._level, parent)
        report(self._channel, {"written": study.session.write()})
        if not study.ended:
            return False
        study.session.finish("finished")
        self._refused += study.session.projection.refused
        (path / RECORDED).touch()
        return True

    def _scoreboard(self) -> Scoreboard:
        if self._board is None:
            self._board = Scoreboard(self._folder, self._uri, self._experiment, self._searchers)
            report(self._channel, {"ready": self._board.place})
        return self._board

    def _finish(self, ending: str) -> bool:
        """Write the verdict where there is one, and close what still runs.

        Returns:
            Whether the record is complete.
        """
        killed = [study for study in self._studies.values() if not study.ended]
        try:
            for study in killed:
                if study.session is not None:
                    study.session.finish("killed")
            if ending != "finished":
                self._scoreboard().close("KILLED")
            else:
                self._refused += self._scoreboard().write_verdict()
            report(self._channel, {"refused": self._refused})
        except Exception as error:
            self._fail(error)
            return False
        if len(self._studies) > len(killed) and self._failure is not None:
            self._fail(self._failure)  # which what went well since made forget
            return False
        return True

    def _fail(self, error: Exception) -> None:
        self._failure = error
        report_failure(self._channel, error, self._uri)


def _first_event(study: Path) -> dict[str, str] | None:
    """Return the header of a study that may have just begun; None where it isn't there yet."""
    folder = StudyFolder(study)
    events = JournalReader(folder.journal).poll() if folder.has_begun else []
    return events[0] if events else None
