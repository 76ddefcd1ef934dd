"""A kill after every event, and in the middle of every line, that costs nothing."""

from collections.abc import Iterator
from pathlib import Path

from . import studies
from .campaign import attempt

WHAT = "kill after every event and within every line, and the journal alone so far, then resume"
SEARCHERS = (
    *("random", "tpe+median", "grid", "ppo", "dqn-from-scratch", "range-test", "random+promotion"),
    *("portfolio", "gp", "tpe+hyperband"),
)
COUNT = 2 * len(SEARCHERS)


def case(seed: int, folder: Path) -> Iterator[str]:
    """Try a searcher, with one worker or two: seeds of 2 × `SEARCHERS` apart are of the same."""
    agent, workers = SEARCHERS[seed % len(SEARCHERS)], 1 + seed // len(SEARCHERS) % 2
    *frames, end = studies.frames(agent, seed, workers)
    whole, expected, trials = (
        end["journal.jsonl"],
        studies.outcome_of(end),
        studies.trials_in(end),
    )
    for number, frame in enumerate(frames, 1):
        where = f"{agent}, workers {workers}, event {number}"
        journal = frame["journal.jsonl"]
        following = whole[len(journal) :].partition(b"\n")[0]
        for torn in {b"", following[: 1 + number * 7919 % max(1, len(following))]}:
            runs = folder / f"{number}-{len(torn)}"
            studies.put(frame | {"journal.jsonl": journal + torn}, runs)
            wrong = _resumed(runs) or studies.differing(expected, studies.outcome(runs))
            yield wrong and f"{where}, {len(torn)} bytes: {wrong}"
        runs = folder / f"{number}-alone"
        studies.put({"journal.jsonl": journal}, runs)
        wrong = _resumed(runs)
        if not wrong and studies.trials_of(runs) != trials:
            wrong = "other trials"
        yield wrong and f"{where}, without snapshots: {wrong}"


def _resumed(runs: Path) -> str:
    result, wrong = attempt(lambda: studies.resume(runs))
    return wrong or ("refused" if result is None else "")
