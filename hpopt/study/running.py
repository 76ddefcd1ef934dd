"""A study from its settings to its result, and from its journal to its end."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..record.folders import check_writable
from ..searchers.registry import choose_agent, find_agent
from ..settings.study import Settings
from ..tracking import Ending
from ..tracking.client import TrackingProcess
from ..tracking.reach import check_reachable
from .conducting import conduct
from .display import Display
from .open_study import OpenStudy
from .opening import begin, take_up
from .result import StudyResult


def search(settings: Settings, display: Display) -> StudyResult:
    """Run a new study.

    Raises:
        HpoptError: one line, where it can't begin; then nothing of it is left behind.
    """
    asked = settings.searcher
    find_agent(choose_agent(asked.agent, asked.pruner), asked.pruner)
    check_writable(Path(settings.tracking.runs), "runs:")
    check_reachable(settings.tracking.uri)
    return _recorded(begin(settings), display)


def resume(name: str, runs: str, changes: Mapping[str, Any], display: Display) -> StudyResult:
    """Go on with a study that was cut off, or extend one that ended.

    Args:
        name: of the study.
        runs: folder that studies are kept in.
        changes: new limits ("trials", "cost", "time_limit"); the searcher keeps the settings of
            its first budget.
        display: shows what happens.

    Raises:
        HpoptError: one line, where it can't go on; its journal stays as it was.
    """
    return _recorded(take_up(name, runs, changes), display)


def _recorded(study: OpenStudy, display: Display) -> StudyResult:
    """Conduct a study while a process of its own writes its journal to MLflow."""
    folder, settings = study.folder.path, study.settings
    experiment = study.header["experiment"]
    tracking = TrackingProcess(folder, settings.tracking.uri, experiment, settings.tracking_level)
    tracking.start()
    ending: Ending = "failed"
    try:
        result = conduct(study, display, tracking)
        ending = "finished"
    except KeyboardInterrupt:
        ending = "killed"
        raise
    finally:
        tracking_error = tracking.finish(ending)
    return dataclasses.replace(result, tracking_error=tracking_error)
