"""Small studies on the simulated task, without MLflow: run, killed, resumed, and told apart."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from hpopt.record.journal import read_events
from hpopt.record.lines import Event
from hpopt.searchers import Searcher, SearchPlan, build_searcher
from hpopt.searchers.base import NO_PRUNER
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.open_study import OpenStudy
from hpopt.study.opening import begin, take_up
from hpopt.study.result import StudyResult
from hpopt.tracking.client import TrackingProcess
from hpopt_envs.records import Trial
from hpopt_search_spaces import Value
from tests.hpopt.asking import asked

SMALL: dict[str, Any] = {"task": "simulated", "agent": "tpe", "trials": 6, "trial_tokens": 4 * 4096}


def make_searcher(
    agent: str,
    pruner: str = NO_PRUNER,
    *,
    trials: int,
    seed: int,
    prior: str = "default",
    portfolio: tuple[dict[str, Value], ...] = (),
) -> Searcher:
    """A searcher by its names."""
    return build_searcher(SearchPlan(agent, pruner, trials, seed, prior, portfolio))


class Killed(BaseException):
    """The end of a process, as far as its files are concerned."""


class KillAfter(Display):
    """Ends a study right after its `count`th event is in the journal."""

    end: type[BaseException] = Killed

    def __init__(self, count: int) -> None:
        self.left = count

    def event(self, event: Event) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.end


class Interrupt(KillAfter):
    """Ctrl-C right after the `count`th event is in the journal."""

    end = KeyboardInterrupt


def run(study: OpenStudy, display: Display | None = None) -> StudyResult:
    """A study without MLflow, whose process is a matter of its own."""
    record = TrackingProcess(study.folder.path, study.settings.tracking.uri, "none", "parents")
    return conduct(study, display or Display(), record)


def search(runs: Path, display: Display | None = None, **settings: Any) -> StudyResult:
    said = {**SMALL, "runs": str(runs), "name": "otter", **settings}
    return run(begin(asked(said)), display)


def resume(runs: Path, display: Display | None = None, **changes: Any) -> StudyResult:
    return run(take_up("otter", str(runs), changes), display)


def killed(runs: Path, events: int, **settings: Any) -> Path:
    """The journal of a new study that was killed after so many events."""
    with pytest.raises(Killed):
        search(runs, KillAfter(events), **settings)
    return runs / "otter" / "journal.jsonl"


def tear(journal: Path, draw: random.Random) -> None:
    """Cut a journal somewhere in its last line, or leave it whole."""
    whole = journal.read_bytes()
    start = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    journal.write_bytes(whole[: draw.randint(start, len(whole))])


def told(trial: Trial) -> str:
    """Everything about a trial but how long it took; NaN is the same as NaN."""
    segments = [vars(segment) | {"wall_seconds": 0.0} for segment in trial.segments]
    return json.dumps(vars(trial) | {"segments": segments}, default=str)


def final_of(result: StudyResult) -> tuple[Any, ...]:
    """What a study recommends, why, and what all entrants came to in its final."""
    final = result.final
    runs = {} if final is None else final.runs
    values = {n: [(r.value, r.segments[-1].test_objective) for r in runs[n]] for n in runs}
    return result.why, result.schedule, values


def outcome(result: StudyResult) -> tuple[Any, ...]:
    """What a study came to."""
    history = result.history
    trials = [told(trial) for trial in history.trials.values()]
    return (
        trials,
        result.best_value,
        final_of(result),
        history.cost,
        history.training_tokens,
        history.improvements,
    )


def events_of(result: StudyResult) -> list[Event]:
    return list(read_events(result.folder / "journal.jsonl"))
