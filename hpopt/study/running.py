"""A study from its settings to its result, and from its journal to its end."""

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..record.folders import StudyFolder, check_writable
from ..report.page.study import write_report
from ..searchers.registry import choose_agent, find_agent
from ..settings.study import Settings
from ..tracking import Ending
from ..tracking.client import TrackingProcess
from ..tracking.reach import check_reachable
from ..wording import what_failed
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
    experiment = settings.tracking.experiment or settings.environment.task
    check_reachable(settings.tracking.uri, experiment)
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
    """Conduct a study, draw its page, and have a process of its own write its journal to MLflow."""
    folder, settings = study.folder, study.settings
    experiment = study.header["experiment"]
    uri, level = settings.tracking.uri, settings.tracking_level
    tracking = TrackingProcess(folder.path, uri, experiment, level)
    with ExitStack() as closing:
        closing.enter_context(study)
        tracking.start()
        closing.pop_all()  # from here on it is closed by who conducts it
    ending: Ending = "failed"
    try:
        result = conduct(study, display, tracking)
        ending = "finished"
    except KeyboardInterrupt:
        ending = "killed"
        raise
    finally:
        try:
            report_error = _draw_page(folder)
        finally:
            tracking_error = tracking.finish(ending)
    pages = tuple(page for page in (tracking.run, tracking.chart) if page is not None)
    return dataclasses.replace(
        result, tracking_error=tracking_error, report_error=report_error, pages=pages
    )


def _draw_page(folder: StudyFolder) -> str | None:
    """Write the report of a study that ended or was cut off; return in a line why there is none."""
    try:
        write_report(folder, folder.read())
    except Exception as error:  # whatever it is, what the study came to must be told
        return what_failed(error)
    return None
