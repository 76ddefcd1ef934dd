"""Studies whose trials are paused and promoted: on slots of this process, without MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpopt.pool.base import Pool
from hpopt.pool.local import LocalPool
from hpopt.record.history import History
from hpopt.record.journal import Journal, read_events
from hpopt.record.lines import Event
from hpopt.searchers.registry import find_agent
from hpopt.settings.study import Settings
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.header import environment_settings, make_header
from hpopt.study.open_study import OpenStudy
from hpopt.study.opening import FACTORY
from hpopt.study.result import StudyResult
from hpopt_envs.records import Trial
from tests.hpopt.asking import asked

SEGMENTS = 16
TRIAL = SEGMENTS * 4096
RUNGS = (2, 5)


def settings_of(folder: Path, **changes: Any) -> Settings:
    said = {"task": "simulated", "agent": "random", "pruner": "promotion", "trials": 6}
    said |= {"trial_tokens": TRIAL, "confirm_seeds": 0, "runs": str(folder), "name": "otter"}
    return asked(said | changes)


def study(
    folder: Path, display: Display | None = None, slots: int = 1, **changes: Any
) -> StudyResult:
    """A new study, or one taken up where the folder has a journal."""
    settings = settings_of(folder, **changes)
    who = settings.searcher
    environment = environment_settings(settings, find_agent(who.agent, who.pruner))
    pool = LocalPool(FACTORY, environment, slots)
    return go_on(pool, settings, environment, display)


def go_on(
    pool: Pool, settings: Settings, environment: dict[str, Any], display: Display | None = None
) -> StudyResult:
    path = Path(settings.tracking.runs) / "otter" / "journal.jsonl"
    header = make_header(settings, "otter", environment, pool)
    journal = Journal.open(path) if path.exists() else Journal.create(path, header)
    return conduct(OpenStudy(journal, pool, settings), display or Display())


def events_of(folder: Path) -> list[Event]:
    return list(read_events(folder / "otter" / "journal.jsonl"))


def told(trial: Trial) -> str:
    """Everything about a trial but when it happened; NaN is the same as NaN."""
    same = {"study_cost": 0.0, "wall_seconds": 0.0}
    return repr(vars(trial) | {"segments": [vars(s) | same for s in trial.segments]})


def outcome(result: StudyResult) -> tuple[Any, ...]:
    history = result.history
    return [told(t) for t in history.trials.values()], result.best_value, history.training_tokens


class Watch(Display):
    """Calls a function with each event as it is journaled, and with what is known by then."""

    def __init__(self, watch: Callable[[Event, History], None]) -> None:
        self._watch = watch

    def event(self, event: Event) -> None:
        self._watch(event, self.history)
