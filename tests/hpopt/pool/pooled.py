"""Studies on pools of our own, without MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpopt.pool.base import Pool
from hpopt.pool.local import LocalPool
from hpopt.pool.processes import ProcessPool
from hpopt.record.journal import Journal
from hpopt.record.lines import Event
from hpopt.searchers.registry import find_agent
from hpopt.settings.study import Settings
from hpopt.study.display import Display
from hpopt.study.header import environment_settings, make_header
from hpopt.study.open_study import OpenStudy
from hpopt.study.opening import FACTORY
from hpopt.study.result import StudyResult
from hpopt_envs.records import Trial
from tests.hpopt import searching
from tests.hpopt.asking import asked

SEGMENT = 4096
SMALL = {
    "task": "simulated",
    "agent": "tpe",
    "trials": 6,
    "trial_tokens": 4 * SEGMENT,
    "confirm_seeds": 1,
}
FAULTY = "faulty_env:make_env"


def settings_of(runs: Path, **changes: Any) -> Settings:
    return asked({**SMALL, "runs": str(runs), "name": "otter", **changes})


def environment_of(settings: Settings) -> dict[str, Any]:
    who = settings.searcher
    return environment_settings(settings, find_agent(who.agent, who.pruner))


def faulty(settings: Settings, *faults: dict[str, Any]) -> dict[str, Any]:
    """Settings of an environment in which training goes wrong."""
    folder = Path(settings.tracking.runs) / "faults"
    folder.mkdir(parents=True)
    environment = environment_of(settings)
    kept = ("view", "validate_segments", "trial_tokens")
    return {name: environment[name] for name in kept} | {"faults": faults, "folder": str(folder)}


def run(pool: Pool, settings: Settings, display: Display | None = None) -> StudyResult:
    """A new study on workers of our own, without MLflow."""
    path = Path(settings.tracking.runs) / "otter" / "journal.jsonl"
    header = make_header(settings, "otter", environment_of(settings), pool)
    return go_on(Journal.create(path, header), pool, settings, display)


def go_on(
    journal: Journal, pool: Pool, settings: Settings, display: Display | None = None
) -> StudyResult:
    return searching.run(OpenStudy(journal, pool, settings), display)


def local(settings: Settings, size: int = 1) -> LocalPool:
    return LocalPool(FACTORY, environment_of(settings), size)


def processes(settings: Settings, size: int) -> ProcessPool:
    log = Path(settings.tracking.runs) / "workers.log"
    log.parent.mkdir(parents=True)
    return ProcessPool(FACTORY, environment_of(settings), size, log)


def told(trial: Trial) -> str:
    """Everything about a trial but when it happened; NaN is the same as NaN."""
    same = {"study_cost": 0.0, "wall_seconds": 0.0}
    return repr(vars(trial) | {"segments": [vars(s) | same for s in trial.segments]})


def trials(result: StudyResult) -> list[str]:
    return [told(trial) for trial in result.history.trials.values()]


class Watch(Display):
    """Calls a function with each event as it is journaled."""

    def __init__(self, watch: Callable[[Event], None]) -> None:
        self._watch = watch

    def event(self, event: Event) -> None:
        self._watch(event)
