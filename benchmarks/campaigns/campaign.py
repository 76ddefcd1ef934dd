"""Cases one after the other, and the count of what was wrong."""

import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hpopt import HpoptError

NAMES = ("events", "kills", "workers", "spaces", "data", "journals", "snapshots", "commands")
PATIENCE = 300.0  # seconds for what should take less than one, before it counts as hung

Result = TypeVar("Result")


class Hung(BaseException):
    """Something didn't come to an end."""


@dataclass
class Tally:
    """What a campaign came to.

    Attributes:
        what: was tried.
        seeds: of the cases, the first and the last.
        tried: how often; a case may try several things.
        bad: how often something was wrong.
    """

    what: str
    seeds: tuple[int, int]
    tried: int = 0
    bad: int = 0

    @property
    def row(self) -> str:
        first, last = self.seeds
        return f"| {self.what} | {first}–{last} | {self.tried:,} | {self.bad:,} |"


def run(name: str, seed: int, count: int | None, say: Callable[[str], object]) -> Tally:
    """Run cases of a campaign, each in an empty folder.

    Args:
        name: of the campaign, see `NAMES`.
        seed: of the first case; the others follow.
        count: of cases; None for the campaign's own.
        say: told at once of what was wrong.
    """
    campaign = import_module(f".{name}", __package__)
    seeds = range(seed, seed + (count or campaign.COUNT))
    tally = Tally(campaign.WHAT, (seeds[0], seeds[-1]))
    for number in seeds:
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries about odd input
            for wrong in _complaints(campaign.case(number, Path(folder))):
                tally.tried += 1
                if wrong:
                    tally.bad += 1
                    say(f"{name} --seed {number} --count 1: {wrong}")
    return tally


def _complaints(case: Iterator[str]) -> Iterator[str]:
    try:
        yield from case
    except Exception as error:
        yield told(error)


def attempt(act: Callable[[], Result]) -> tuple[Result | None, str]:
    """Do something that may be refused.

    Returns:
        Its result, None where it was refused; and what was wrong: another exception, a refusal of
        several lines, or no end.
    """
    try:
        with _limited():
            return act(), ""
    except HpoptError as error:
        text = str(error)
        return None, "" if len(text.splitlines()) == 1 else f"refused with {text[:300]!r}"
    except Hung:
        return None, f"no end in {PATIENCE:.0f} s"
    except Exception as error:
        return None, told(error)


def told(error: Exception) -> str:
    """Return an exception in a line, with the last place of ours that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "hpopt" in f.filename and "site-packages" not in f.filename]
    place = f"{ours[-1].filename}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {place}: {str(error)[:200]!r}"


@contextmanager
def _limited() -> Iterator[None]:
    def end(number: int, frame: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
