"""What each command does with what was asked."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..commands import resume_command
from ..comparison.settings import ComparisonSettings, read_settings
from ..errors import StudyError
from ..settings.options import read_config
from ..settings.study import EXTENSIBLE, Settings
from .options import INTERRUPTED, OF_A_STUDY, SETTINGS, given

if TYPE_CHECKING:
    from ..study.display import Display
    from ..study.result import StudyResult


def run_search(asked: argparse.Namespace) -> int:
    values = {} if asked.config is None else read_config(asked.config)
    values |= given(asked, OF_A_STUDY)
    settings = Settings.of(values)
    if asked.dry_run:
        from ..study.dry_run import dry_run

        print(dry_run(settings))
        return 0
    from ..study.running import search

    return _watched(lambda display: search(settings, display))


def run_compare(asked: argparse.Namespace) -> int:
    values = {} if asked.config is None else read_config(asked.config)
    values |= given(asked, SETTINGS)
    return _run_comparison(ComparisonSettings.of(values))


def _run_comparison(settings: ComparisonSettings) -> int:
    """Run a comparison, or go on with it, and show what came of it."""
    from ..comparison.compare import compare, open_comparison, record_lines

    name = open_comparison(settings)
    try:
        compared = compare(settings, name, lambda text: print(text, flush=True))
    except (KeyboardInterrupt, BrokenPipeError):
        again = resume_command(name, settings.study.runs)
        print(f"hpopt: interrupted; `{again}` goes on with it", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(["", *compared.lines, "", *record_lines(compared, settings)]))
    return 0


def run_resume(asked: argparse.Namespace) -> int:
    changes = given(asked, EXTENSIBLE)
    runs = given(asked, ["runs"]).get("runs", "runs")
    comparison = read_settings(asked.study, runs)
    if comparison is not None:
        if changes:
            raise StudyError(f"{next(iter(changes))}: can't be changed in a comparison")
        return _run_comparison(comparison)
    from ..study.running import resume

    return _watched(lambda display: resume(asked.study, runs, changes, display))


def _watched(run: "Callable[[Display], StudyResult]") -> int:
    """Show a study while it runs, and what came of it."""
    from .display import make_display
    from .summary import report

    display = make_display()
    try:
        result = run(display)
    except (KeyboardInterrupt, BrokenPipeError):
        return _interrupted(display)
    print(report(result, display.settings))
    return 0


def _interrupted(display: "Display") -> int:
    again = ""
    if display.name is not None:
        again = f"; `{resume_command(display.name, display.settings.runs)}` goes on with it"
    print(f"hpopt: interrupted{again}", file=sys.stderr)
    return INTERRUPTED


def run_report(asked: argparse.Namespace) -> int:
    runs = given(asked, ["runs"]).get("runs", "runs")
    comparison = read_settings(asked.study, runs)
    if comparison is not None:
        from ..comparison.compare import write_verdict

        write_verdict(comparison, asked.study)
        print(comparison.folder(asked.study) / "report.html")
        return 0
    from ..record.folders import StudyFolder
    from ..report.page.study import write_report

    study = StudyFolder.find(asked.study, runs, "report")
    print(write_report(study, study.read()))
    return 0


def run_export(asked: argparse.Namespace) -> int:
    from ..export import export, summary

    runs = given(asked, ["runs"]).get("runs", "runs")
    print(summary(export(asked.study, runs, asked.to, asked.folder)))
    return 0


def run_ui(asked: argparse.Namespace) -> int:
    from ..tracking.reach import check_reachable
    from ..tracking.ui import open_ui

    settings = Settings.of(given(asked, ["tracking_uri", "runs"]))
    check_reachable(settings.uri)
    open_ui(settings.uri, asked.port)
    return 0


def run_list(asked: argparse.Namespace) -> int:
    if asked.listing == "tasks":
        from hpopt_envs.tasks import available_tasks

        rows = available_tasks()
    elif asked.listing == "spaces":
        from hpopt_search_spaces import available_spaces

        rows = available_spaces()
    else:
        from ..searchers.registry import AGENTS

        rows = [(name, spec.description) for name, spec in AGENTS.items()]
    width = max(len(name) for name, _ in rows)
    for name, what in rows:
        print(f"{name:<{width}s}  {what}")
    return 0
