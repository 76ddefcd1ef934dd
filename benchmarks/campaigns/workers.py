"""Workers that are killed or stopped at any instant: the study comes to the same trials."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.opening import begin

from . import studies
from .campaign import attempt

WHAT = "SIGKILL of workers at any instant, starting ones too, and SIGSTOP"
COUNT = 10
SLOW = f"{__package__}.slow:make_env"
MOST = 12  # kills of a study
PAUSE = 2.5  # seconds between two, at most
SILENCE = 5.0  # seconds after which a worker that was stopped counts as dead
STARTS = 5  # of a worker that may die, before a study says that none starts
DIED = "its worker died twice in the same segment"  # which is what a study may say of a trial


class Killer(threading.Thread):
    """Kills or stops a worker of this process's from time to time, until it is told to end."""

    def __init__(self, draw: Random, journal: Path) -> None:
        super().__init__(daemon=True)
        self._draw, self._journal = draw, journal
        self.ended = threading.Event()
        self.kills = 0

    def run(self) -> None:
        while self.kills < MOST and not self.ended.wait(self._draw.uniform(0.05, PAUSE)):
            workers = _workers()
            if not workers:
                continue
            # How long the first start of all may take, nobody knows: it is waited for an hour.
            stops = self._journal.exists() and self._draw.random() < 0.2
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._draw.choice(workers), signal.SIGSTOP if stops else signal.SIGKILL)
                self.kills += 1


def _workers() -> list[int]:
    """Return the ids of the workers among this process's children."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"hpopt.pool.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def case(seed: int, folder: Path) -> Iterator[str]:
    """Run a study of two workers; what is counted are the kills."""
    draw = Random(seed)
    agent = draw.choice(("random", "tpe+median", "ppo"))
    studies.run(folder / "whole", agent, seed, workers=2)
    settings = studies.settings_of(folder, agent, seed, workers=2, silence_limit=SILENCE)
    killer = Killer(draw, folder / studies.NAME / "journal.jsonl")
    killer.start()
    result, wrong = attempt(lambda: conduct(begin(settings, factory=SLOW), Display()))
    killer.ended.set()
    killer.join()
    if result is not None:
        wrong = _compared(agent, folder, killer.kills)
    elif not wrong and killer.kills < STARTS:
        wrong = "no worker starts"
    yield wrong and f"{agent}, {killer.kills} kills: {wrong}"
    yield from [""] * (killer.kills - 1)


def _compared(agent: str, folder: Path, kills: int) -> str:
    """Compare a study with the one that nobody disturbed."""
    whole, trials = studies.trials_of(folder / "whole"), studies.trials_of(folder)
    died = [number for number, trial in enumerate(trials) if DIED in trial]
    if len(trials) < len(whole) or 2 * len(died) > kills:
        return f"{len(trials)} trials instead of {len(whole)}, {len(died)} of them died"
    if died and agent != "random":
        return ""  # what is decided after a failure may differ
    pairs = enumerate(zip(whole, trials, strict=False))
    other = [number for number, (one, two) in pairs if one != two and number not in died]
    return f"other trials: {other}" if other else ""
