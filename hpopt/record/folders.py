"""Where studies are kept: a folder each, named after the study, below the folder of all runs."""

import json
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hpopt_search_spaces.checks import shown

from ..errors import StudyError, io_error
from .history import History
from .journal import read_events

MANIFEST = "comparison.json"  # in the folder of a comparison, whose studies lie below it
REPORT = "report.html"  # in the folder of a study, or of a comparison


def check_writable(folder: Path, what: str) -> None:
    """Check that a folder can be written to, or made; nothing is made yet.

    Raises:
        StudyError: "`what` must be a folder that can be written to".
    """
    try:
        there = folder
        while not there.exists():
            there = there.parent
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return
        reason = f"{there} isn't"
    except OSError as error:
        reason = f"{str(folder)[:80]!r}: {error.strerror}"
    raise StudyError(f"{what} must be a folder that can be written to, but {reason}")


def check_name(name: str, what: str) -> None:
    """Make sure that what should name a study, or a comparison, can be the name of a folder.

    Args:
        name: of the study.
        what: is asked for, as errors begin with it.

    Raises:
        StudyError: it can't, and says so.
    """
    if not 0 < len(name.encode(errors="replace")) <= 255 or set("/\0") & set(name):
        raise StudyError(
            f"{what}: must be the name of a study, without '/' (its folder's is said with --runs), "
            f"but got {shown(name)}"
        )
    if name in (".", ".."):
        raise StudyError(f"{what}: must be the name of a study, but got {name!r}")


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study, and what lies where in it.

    Attributes:
        path: of the folder; it is named after the study.
    """

    path: Path

    @classmethod
    def find(cls, name: str, runs: str, what: str) -> "StudyFolder":
        """Return the folder of a study that has begun.

        Args:
            name: of the study.
            runs: folder that studies are kept in.
            what: is asked for, as errors begin with it.

        Raises:
            StudyError: there is no such study; the text has the nearest names.
        """
        check_name(name, what)
        folder = cls(Path(runs) / name)
        try:
            if folder.has_begun:
                return folder
            there = [cls(path.parent) for path in Path(runs).glob(f"*/{folder.journal.name}")]
            there.sort(key=lambda other: other.journal.stat().st_mtime)
        except OSError as error:
            raise StudyError(f"{what}: {io_error(error)}") from None
        known = [other.name for other in there]
        near = get_close_matches(name, known, cutoff=0.5) or known[-3:]
        raise StudyError(
            f"{what}: must be a study in {runs}/ ({', '.join(near)}), but got {name!r}"
        )

    @property
    def name(self) -> str:
        """The study's."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """All that happened; the rest follows from it."""
        return self.path / "journal.jsonl"

    @property
    def result(self) -> Path:
        """What the study came to; there once it ended."""
        return self.path / "result.json"

    @property
    def schedule(self) -> Path:
        """The recommended schedule, see `Recommended.to_json`."""
        return self.path / "schedule.json"

    @property
    def report(self) -> Path:
        """The page with everything about the study."""
        return self.path / REPORT

    @property
    def best(self) -> Path:
        """The folder of the recommended model's weights."""
        return self.path / "best"

    @property
    def samples(self) -> Path:
        """What the recommended model writes, see `hpopt_envs.training.samples`."""
        return self.best / "samples.json"

    @property
    def snapshots(self) -> Path:
        """The folder of the states that trials can be taken up from."""
        return self.path / "snapshots"

    @property
    def trials(self) -> Path:
        """What the trials of a script of the user's own wrote, a folder each."""
        return self.path / "trials"

    @property
    def export(self) -> Path:
        """The folder that exports go to, where nobody names another."""
        return self.path / "export"

    @property
    def workers_log(self) -> Path:
        """What worker processes print."""
        return self.path / "workers.log"

    @property
    def has_begun(self) -> bool:
        """Whether there is a journal."""
        return self.journal.is_file()

    @property
    def has_ended(self) -> bool:
        """Whether there is a result; a study that is extended has one too."""
        return self.result.exists()

    def read_result(self) -> dict[str, Any] | None:
        """Return what the study came to; None where it hasn't ended, or the file was damaged."""
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return result if isinstance(result, dict) and "best_trial" in result else None

    def read(self) -> History:
        """Return everything that the journal says; the study may still be running.

        Raises:
            StudyError: the journal is broken.
        """
        history = History()
        for event in read_events(self.journal):
            history.apply(event)
        return history
