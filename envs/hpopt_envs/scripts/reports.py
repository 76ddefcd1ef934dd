"""Where a script's values are looked for, while it runs: what it says of itself, in four forms."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

REPORTS = "HPOPT_REPORTS"  # names the file that `hpopt.report` appends to; see hpopt/reporting.py
TOKENS = "num_input_tokens_seen"  # as transformers' Trainer has it
TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True)
class Report:
    """What a script reported at once.

    Attributes:
        metrics: all numbers in it, the value that is tuned among them.
        tokens: that it has trained on so far; None where it doesn't say.
    """

    metrics: Mapping[str, float]
    tokens: int | None = None

    @classmethod
    def of(cls, said: Any, value: str) -> "Report | None":
        """Return a report of what was read; None where that hasn't the value in it."""
        if not isinstance(said, dict):
            return None
        numbers = {
            str(name): float(number)
            for name, number in said.items()
            if isinstance(number, int | float) and not isinstance(number, bool)
        }
        if value not in numbers:
            return None
        seen = numbers.get(TOKENS)
        return cls(numbers, None if seen is None else int(seen))


class Source(Protocol):
    """A place where a script's values may be."""

    def read(self, ended: bool) -> list[Report]:
        """Return what is new; `ended`: nothing is being written any more."""


class Lines:
    """A file of lines that grows.

    Args:
        path: of the file, which may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def read(self, ended: bool) -> list[str]:
        """Return lines that are new and whole."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return []
        whole = len(data) if ended else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        self._read += whole
        return re.split(r"[\r\n]+", data[:whole].decode(errors="replace"))


class JsonLines:
    """A file of JSON lines, such as what `hpopt.report` writes."""

    def __init__(self, path: Path, value: str) -> None:
        self._lines, self._value = Lines(path), value

    def read(self, ended: bool) -> list[Report]:
        found = (Report.of(_parsed(line), self._value) for line in self._lines.read(ended))
        return [report for report in found if report is not None]


class JsonFile:
    """A file with one JSON object, which is a report whenever it changes."""

    def __init__(self, path: Path, value: str) -> None:
        self._path, self._value, self._last = path, value, None

    def read(self, ended: bool) -> list[Report]:
        said = _read(self._path)
        report = None if said == self._last else Report.of(said, self._value)
        if report is None:
            return []
        self._last = said
        return [report]


class TrainerState:
    """What transformers' Trainer, and what is built on it, writes beside its checkpoints."""

    def __init__(self, folder: Path, value: str) -> None:
        self._folder, self._value = folder, value
        self._taken = 0  # entries of its history
        self._read: tuple[str, int] | None = None

    def read(self, ended: bool) -> list[Report]:
        files = [self._folder / TRAINER_STATE, *self._folder.glob(f"checkpoint-*/{TRAINER_STATE}")]
        there = [(path.stat().st_mtime_ns, str(path)) for path in files if path.is_file()]
        if not there:
            return []
        written, newest = max(there)
        if self._read == (newest, written):
            return []
        state = _read(Path(newest))
        entries = state.get("log_history") if isinstance(state, dict) else None
        if not isinstance(entries, list):  # it is being written
            return []
        self._read = newest, written
        seen = state.get(TOKENS) or None  # 0 where the trainer doesn't count them
        new = entries[self._taken :]
        self._taken = max(self._taken, len(entries))
        found = [Report.of(entry, self._value) for entry in new]
        reports = [report for report in found if report is not None]
        if reports and seen is not None:
            reports[-1] = Report({TOKENS: float(seen), **reports[-1].metrics}, int(seen))
        return reports


class Pattern:
    """A regular expression whose one group is the value, in lines of standard output."""

    def __init__(self, path: Path, value: str, pattern: str) -> None:
        self._lines, self._value, self._pattern = Lines(path), value, re.compile(pattern)

    def read(self, ended: bool) -> list[Report]:
        found = (self._pattern.search(line) for line in self._lines.read(ended))
        numbers = [_number(match[1]) for match in found if match is not None]
        return [Report({self._value: number}) for number in numbers if number is not None]


class Reports:
    """All sources; the first of them that has a value speaks for the trial.

    Args:
        sources: in the order of preference.
    """

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def read(self, ended: bool) -> list[Report]:
        """Return what is new."""
        for source in self._sources:
            if found := source.read(ended):
                self._sources = (source,)
                return found
        return []


def _read(path: Path) -> Any:
    try:
        return _parsed(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # it may be half written
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
