"""A kill after every event, and in the middle of every line, that costs nothing."""

from collections.abc import Iterator
from pathlib import Path

from . import studies

WHAT = "kill after every event and within every line, then resume"
SEARCHERS = (
    *("random", "tpe+median", "grid", "ppo", "dqn", "range-test", "random+promotion"),
    *("portfolio", "gp", "tpe+hyperband"),
)
COUNT = 2 * len(SEARCHERS)


def case(seed: int, folder: Path) -> Iterator[str]:
    """Try a searcher, with one worker or two: seeds of 2 × `SEARCHERS` apart are of the same."""
    agent, workers = SEARCHERS[seed % len(SEARCHERS)], 1 + seed // len(SEARCHERS) % 2
    *frames, end = studies.frames(agent, seed, workers)
    whole, expected = end["journal.jsonl"], studies.outcome_of(end)
    for number, frame in enumerate(frames, 1):
        journal = frame["journal.jsonl"]
        following = whole[len(journal) :].partition(b"\n")[0]
        for torn in {b"", following[: 1 + number * 7919 % max(1, len(following))]}:
            runs = folder / f"{number}-{len(torn)}"
            studies.put(frame | {"journal.jsonl": journal + torn}, runs)
            wrong = _resumed(runs, expected)
            yield (
                wrong and f"{agent}, {workers} workers, event {number}, {len(torn)} bytes: {wrong}"
            )


def _resumed(runs: Path, expected: dict[str, object]) -> str:
    try:
        studies.resume(runs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return studies.differing(expected, studies.outcome(runs))
