"""Journals that were changed: refused in a line, or of no consequence; never another outcome."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from hpopt.record.folders import StudyFolder
from hpopt.record.journal import Journal, read_events
from hpopt.record.lines import Event

from . import studies
from .campaign import attempt
from .mutation import HOSTILE, moved_lines, mutated

WHAT = "journals with bytes or lines changed, dropped, doubled or moved: read, resume"
COUNT = 2000
SEARCHERS = ("random", "tpe+median", "ppo", "random+promotion")
FORGED = 0.3  # share of cases whose checksums are right, which are read alone: who could tell?
VALUES: tuple[Any, ...] = (
    None,
    "x",
    "",
    -1,
    0,
    1e308,
    float("nan"),
    10**400,
    [],
    {},
    True,
    ["x"],
    {"x": 1},
)


def case(seed: int, folder: Path) -> Iterator[str]:
    """Change the journal of a study that ended, or that was cut off somewhere, in some way."""
    draw = Random(seed)
    *frames, end = studies.frames(draw.choice(SEARCHERS), 0)
    files = end if draw.random() < 0.5 else draw.choice(frames)
    data = files["journal.jsonl"]
    if draw.random() < FORGED:
        studies.put(files, folder)
        how, wrong = _forged(folder, draw)
        yield wrong and f"right checksums, {how}: {wrong}"
        return
    by_lines = draw.random() < 0.5
    lines = data.splitlines(keepends=True)
    changed = b"".join(moved_lines(lines, draw)) if by_lines else mutated(data, draw)
    studies.put(files | {"journal.jsonl": changed}, folder)
    yield _read(folder, data)
    yield _resumed(folder, end)


def _read(folder: Path, data: bytes) -> str:
    """Read a changed journal: what is taken must be the beginning of what was written."""
    journal = folder / studies.NAME / "journal.jsonl"
    events, wrong = attempt(lambda: list(read_events(journal)))
    if wrong or events is None:
        return wrong
    _, wrong = attempt(lambda: StudyFolder(journal.parent).read())
    if wrong:
        return wrong
    journal.with_name("whole").write_bytes(data)
    whole = list(map(studies.plain, read_events(journal.with_name("whole"))))
    taken = list(map(studies.plain, events))
    return "" if taken == whole[: len(taken)] else "read as another story"


def _resumed(folder: Path, end: studies.Files) -> str:
    """Resume with a changed journal; what comes of it must be what would have come of the first."""
    resumed, wrong = attempt(lambda: studies.resume(folder))
    if resumed is None:
        return wrong and f"resume: {wrong}"
    expected, result = studies.outcome_of(end), studies.outcome(folder)
    if any(event.startswith('{"event": "lost"') for event in result["events"]):
        # Its snapshots are gone, and so it costs more.
        return "" if studies.trials_of(folder) == studies.trials_in(end) else "other trials"
    return studies.differing(expected, result)


def _forged(folder: Path, draw: Random) -> tuple[str, str]:
    """Change events and write them with right checksums; read that."""
    journal = folder / studies.NAME / "journal.jsonl"
    events = list(read_events(journal))
    how = "lines moved"
    if draw.random() < 0.3:
        places = [str(number).encode() for number in range(len(events))]
        events = [events[int(place)] for place in moved_lines(places, draw)]
    else:
        how = _change(draw.choice(events), draw)
    journal.unlink()
    (folder / studies.NAME / "lock").unlink(missing_ok=True)
    if not events:
        return how, ""
    with Journal.create(journal, events[0]) as written:
        for event in events[1:]:
            written.append(event)
    return how, attempt(lambda: StudyFolder(journal.parent).read())[1]


def _change(event: Event, draw: Random) -> str:
    """Change one value, or take it away, somewhere in an event."""
    place = draw.choice(list(_places(event)))
    within: Any = event
    for name in place[:-1]:
        within = within[name]
    if isinstance(within, dict) and draw.random() < 0.2:
        del within[place[-1]]
        return f"{place} gone"
    value = draw.choice((*VALUES, draw.choice(HOSTILE).decode(errors="replace")))
    within[place[-1]] = value
    return f"{place} = {value!r:.40}"


def _places(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else ())
    )
    for name, part in inner:
        yield (*place, name)
        yield from _places(part, (*place, name))
