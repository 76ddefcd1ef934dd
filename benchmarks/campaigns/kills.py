"""The command line's own process killed at random instants, and resumed until it ends."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from hpopt.record.folders import StudyFolder

from . import studies

WHAT = "SIGKILL of the command's process at any instant, and resume until it ends"
COUNT = 12
AGENTS = ("random", "tpe+median", "ppo", "range-test", "random+promotion")
KILLS = 6  # of a study, at most; how it ends then is left to itself
SECONDS = 8.0  # after which a process is killed at the latest
EVENT = 800  # bytes of an event, roughly


def case(seed: int, folder: Path) -> Iterator[str]:
    """Run a study; what is counted are the kills."""
    draw = Random(seed)
    agent, workers = draw.choice(AGENTS), draw.choice((1, 1, 2))
    studies.run(folder / "whole", agent, seed, workers=workers)
    ended, kills, said = False, 0, ""
    while not ended:
        ended, code, said = _begun(folder, agent, seed, workers, draw if kills < KILLS else None)
        if ended and code != 0:
            yield f"{agent}, after {kills} kills: exit status {code}: {said[-300:]!r}"
            return
        kills += not ended
    wrong = _compared(folder)
    yield wrong and f"{agent}, {workers} workers, {kills} kills: {wrong}"
    yield from [""] * (kills - 1)


def _begun(
    folder: Path, agent: str, seed: int, workers: int, draw: Random | None
) -> tuple[bool, int, str]:
    """Begin the study or go on with it, and kill the process if there is a draw for the instant.

    Returns:
        Whether it ended by itself, its exit status, and what it said.
    """
    journal = StudyFolder(folder / studies.NAME).journal
    small = ["--task", "simulated", "--trials", "6", "--confirm-seeds", "1", "--seed", str(seed)]
    small += ["--trial-tokens", str(4 * studies.SEGMENT), "--workers", str(workers)]
    search = ["search", *small, "--agent", agent, "--name", studies.NAME, "--track", "parents"]
    words = ["resume", studies.NAME] if journal.exists() else search
    output = folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "hpopt", *words, "--runs", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        if draw is not None:
            _wait(process, journal, draw)
            process.kill()
        code = process.wait()
    return code != -9, code, output.read_text(errors="replace")


def _wait(process: "subprocess.Popen[bytes]", journal: Path, draw: Random) -> None:
    """Wait for a random time, or until the journal has grown by a random length.

    Nearly all of the time is spent on starting and on MLflow, and a whole search takes a second.
    """
    end = time.monotonic() + draw.uniform(0, SECONDS)
    size = _size(journal)
    growth = draw.choice((10**9, draw.randrange(1, 40 * EVENT)))
    while process.poll() is None and time.monotonic() < end and _size(journal) < size + growth:
        time.sleep(0.001)


def _size(journal: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(journal).st_size
    return 0


def _compared(folder: Path) -> str:
    """Compare with the study that nobody disturbed; what was trained twice costs more, though."""
    whole, trials = studies.trials_of(folder / "whole"), studies.trials_of(folder)
    if trials != whole:
        return f"other trials: {len(trials)} instead of {len(whole)}, or other values"
    whole_result, result = (
        StudyFolder(runs / studies.NAME).read_result() or {} for runs in (folder / "whole", folder)
    )
    spent = ("cost", "search_cost", "training_tokens")
    names = [n for n in whole_result if whole_result[n] != result.get(n) and n not in spent]
    return f"another result: {', '.join(names)}" if names else ""
