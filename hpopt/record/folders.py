"""Where studies are kept: a folder each, named after the study, below the folder of all runs."""

import os
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from ..errors import StudyError
from .history import History
from .journal import read_events

JOURNAL = "journal.jsonl"
MANIFEST = "comparison.json"  # in the folder of a comparison, whose studies lie below it


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


def find_study(name: str, runs: str, what: str = "resume") -> Path:
    """Return the folder of a study.

    Args:
        name: of the study.
        runs: folder that studies are kept in.
        what: is asked for, as errors begin with it.

    Raises:
        StudyError: there is no such study; the text has the nearest names.
    """
    with suppress(OSError):
        if (Path(runs) / name / JOURNAL).is_file():
            return Path(runs) / name
    journals = sorted(Path(runs).glob(f"*/{JOURNAL}"), key=lambda path: path.stat().st_mtime)
    known = [path.parent.name for path in journals]
    near = get_close_matches(name, known, cutoff=0.5) or known[-3:]
    raise StudyError(f"{what}: must be a study in {runs}/ ({', '.join(near)}), but got {name!r}")


def read_study(name: str, runs: str, what: str) -> History:
    """Return everything that a study's journal says; it may still be running.

    Args:
        name: of the study.
        runs: folder that studies are kept in.
        what: is asked for, as errors begin with it.

    Raises:
        StudyError: there is no such study, or its journal is broken.
    """
    history = History()
    for event in read_events(find_study(name, runs, what) / JOURNAL):
        history.apply(event)
    return history
