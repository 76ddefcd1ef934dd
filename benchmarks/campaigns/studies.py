"""Small studies on the simulated task, in this process and without MLflow."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hpopt.pool.local import LocalPool
from hpopt.record.folders import StudyFolder
from hpopt.record.journal import Journal, read_events
from hpopt.record.lines import Event
from hpopt.settings.study import Settings
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.opening import begin, take_up
from hpopt.study.result import StudyResult

NAME = "otter"
SOURCE = "heron"  # an earlier study, for portfolios to come from
SEGMENT = 4096
Files = dict[str, bytes]  # of a study's folder, by their path in it


def settings_of(runs: Path, agent: str, seed: int, **more: Any) -> Settings:
    """Return settings of a study of six short trials, and of a final."""
    small = {"task": "simulated", "trials": 6, "trial_tokens": 4 * SEGMENT, "confirm_seeds": 1}
    if agent == "portfolio":
        small["portfolio"] = [SOURCE]
    return Settings.of(
        {**small, "agent": agent, "seed": seed, "name": NAME, "runs": str(runs)} | more
    )


def run(runs: Path, agent: str, seed: int, display: Display | None = None, **more: Any) -> None:
    """Run a new study to its end."""
    if agent == "portfolio":
        _source(runs)
    settings = settings_of(runs, agent, seed, **more)
    conduct(begin(settings, open_pool=_slots), display or Display())


def resume(runs: Path) -> StudyResult:
    """Go on with the study in a folder of studies to its end."""
    return conduct(take_up(NAME, str(runs), {}, open_pool=_slots), Display())


def _slots(
    settings: Settings, environment: dict[str, Any], folder: StudyFolder, factory: str
) -> Any:
    """Serve as many workers in this process, which costs milliseconds instead of seconds."""
    return LocalPool(factory, environment, settings.machine.workers)


def _source(runs: Path) -> None:
    """Write the journal of a study of what passes for another task."""
    with TemporaryDirectory() as folder:
        run(Path(folder), "random", 0)
        header, *events = read_events(Path(folder) / NAME / "journal.jsonl")
    header |= {"name": SOURCE, "task": "other", "facts": {**header["facts"], "task": "other"}}
    with Journal.create(runs / SOURCE / "journal.jsonl", header) as journal:
        for event in events:
            journal.append(event)


def files_of(runs: Path) -> Files:
    """Return what is in the study's folder, but for what is being written."""
    folder = runs / NAME
    there = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part")
    return {str(path.relative_to(folder)): path.read_bytes() for path in there}


def put(files: Files, runs: Path) -> None:
    """Make a study's folder of files."""
    for name, data in files.items():
        path = runs / NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Frames(Display):
    """Keeps the files of a study as they were after each event: what a kill would leave."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self.frames: list[Files] = []

    def begun(self) -> None:
        self.frames.append(files_of(self._runs))

    def event(self, event: Event) -> None:
        self.frames.append(files_of(self._runs))


@cache
def frames(agent: str, seed: int, workers: int = 1) -> tuple[Files, ...]:
    """Return a study's files after every event, and at its end."""
    with TemporaryDirectory() as folder:
        runs = Path(folder)
        kept = Frames(runs)
        run(runs, agent, seed, kept, workers=workers)
        return (*kept.frames, files_of(runs))


def outcome(runs: Path) -> dict[str, Any]:
    """Return what a study came to: its files, and its events but for when they happened."""
    folder = StudyFolder(runs / NAME)
    events = [plain(event) for event in read_events(folder.journal)]
    return {
        "result": json.loads(folder.result.read_text()),
        "schedule": folder.schedule.read_text(),
        "weights": [path.read_bytes() for path in sorted(folder.best.glob("weights*"))],
        "events": [event for event in events if event != '{"event": "resumed"}'],
    }


def outcome_of(files: Files) -> dict[str, Any]:
    """Return what a study of these files came to."""
    with TemporaryDirectory() as folder:
        put(files, Path(folder))
        return outcome(Path(folder))


def trials_of(runs: Path) -> list[str]:
    """Return the trials that a journal tells of, but for what depends on work done twice."""
    trials = []
    for trial in StudyFolder(runs / NAME).read().trials.values():
        segments = [vars(s) | {"wall_seconds": 0.0, "study_cost": 0.0} for s in trial.segments]
        trials.append(repr(vars(trial) | {"segments": segments}))  # NaN is the same as NaN
    return trials


def trials_in(files: Files) -> list[str]:
    """Return the trials that a study of these files tells of."""
    with TemporaryDirectory() as folder:
        put(files, Path(folder))
        return trials_of(Path(folder))


def plain(event: Event) -> str:
    """Return an event as a text without times, and without the folder that snapshots are in."""
    event = {name: value for name, value in event.items() if name != "time"}
    reply = dict(event.get("reply", {}))
    if reply.get("segment") is not None:
        reply["segment"] = {**reply["segment"], "wall_seconds": 0.0}
    if reply.get("snapshot") is not None:
        reply["snapshot"] = Path(reply["snapshot"]).name
    return json.dumps(event | ({"reply": reply} if reply else {}))


def differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return which parts of two outcomes differ; "" where none does."""
    names = [name for name in one if one[name] != other[name]]
    return f"another outcome: {', '.join(names)}" if names else ""
