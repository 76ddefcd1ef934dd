"""What each command does with what was asked."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..commands import resume_command
from ..comparison.settings import COMPARISON_FIELDS, ComparisonSettings, read_settings
from ..errors import StudyError
from ..pretraining.settings import PRETRAINING_FIELDS, PretrainingSettings
from ..record.folders import REPORT, StudyFolder
from ..searchers.base import NO_PRUNER
from ..searchers.registry import AGENTS, PRUNERS, installed
from ..settings.config import read_config
from ..settings.groups import EXTENSIBLE
from ..settings.study import FIELDS, Settings
from .options import INTERRUPTED, NOTHING_CAME, given

if TYPE_CHECKING:
    from ..study.display import Display
    from ..study.result import StudyResult


def run_search(asked: argparse.Namespace) -> int:
    values = {} if asked.config is None else read_config(asked.config)
    values |= given(asked, FIELDS)
    settings = Settings.of(values)
    if asked.dry_run:
        from ..study.dry_run import dry_run

        print(dry_run(settings))
        return 0
    from ..study.running import search

    return _watched(lambda display: search(settings, display))


def run_compare(asked: argparse.Namespace) -> int:
    values = {} if asked.config is None else read_config(asked.config)
    values |= given(asked, COMPARISON_FIELDS)
    return _run_comparison(ComparisonSettings.of(values))


def _run_comparison(settings: ComparisonSettings) -> int:
    """Run a comparison, or go on with it, and show what came of it."""
    from ..comparison.compare import compare, open_comparison, record_lines

    name = open_comparison(settings)
    try:
        compared = compare(settings, name, lambda text: print(text, flush=True))
    except (KeyboardInterrupt, BrokenPipeError):
        again = resume_command(name, settings.study.tracking.runs)
        print(f"hpopt: interrupted; `{again}` goes on with it", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(["", *compared.lines, "", *record_lines(compared, settings)]))
    return 0 if compared.has_values else NOTHING_CAME


def run_resume(asked: argparse.Namespace) -> int:
    changes = given(asked, {name: FIELDS[name] for name in EXTENSIBLE})
    runs = _runs(asked)
    comparison = read_settings(asked.study, runs)
    if comparison is not None:
        if changes:
            raise StudyError(f"{next(iter(changes))}: can't be changed in a comparison")
        return _run_comparison(comparison)
    from ..study.running import resume

    return _watched(lambda display: resume(asked.study, runs, changes, display))


def _runs(asked: argparse.Namespace) -> str:
    return str(given(asked, FIELDS).get("runs", "runs"))


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
    return NOTHING_CAME if result.best is None else 0


def _interrupted(display: "Display") -> int:
    again = ""
    if display.study is not None:
        command = resume_command(display.study.name, display.settings.tracking.runs)
        again = f"; `{command}` goes on with it"
    print(f"hpopt: interrupted{again}", file=sys.stderr)
    return INTERRUPTED


def run_report(asked: argparse.Namespace) -> int:
    runs = _runs(asked)
    comparison = read_settings(asked.study, runs)
    if comparison is not None:
        from ..comparison.conclusion import write_verdict
        from ..comparison.reading import read_studies

        write_verdict(comparison, asked.study, read_studies(comparison, asked.study))
        print(comparison.folder(asked.study) / REPORT)
        return 0
    from ..report.page.study import write_report

    study = StudyFolder.find(asked.study, runs, "report")
    print(write_report(study, study.read()))
    return 0


def run_export(asked: argparse.Namespace) -> int:
    from ..export import command_of, export, summary

    runs = _runs(asked)
    if asked.to is None:
        print(command_of(asked.study, runs))
        return 0
    print(summary(export(asked.study, runs, asked.to, asked.folder)))
    return 0


def run_pretrain(asked: argparse.Namespace) -> int:
    settings = PretrainingSettings.of(given(asked, PRETRAINING_FIELDS))
    from ..pretraining.running import pretrain

    try:
        pretrain(asked.folder, settings, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        print("hpopt: interrupted; the same command goes on with it", file=sys.stderr)
        return INTERRUPTED
    return 0


def run_ui(asked: argparse.Namespace) -> int:
    from ..tracking.reach import check_reachable
    from ..tracking.ui import open_ui

    uri = Settings.of(given(asked, FIELDS)).tracking.uri
    check_reachable(uri)
    open_ui(uri, asked.port)
    return 0


def tasks() -> list[tuple[str, str]]:
    """Return what can be trained, with descriptions."""
    from hpopt_envs.tasks import available_tasks

    return available_tasks()


def spaces() -> list[tuple[str, str]]:
    """Return what may be tuned, with descriptions."""
    from hpopt_search_spaces import available_spaces

    return available_spaces()


def agents() -> list[tuple[str, str]]:
    """Return who can decide, installed agents and pruners included, with descriptions."""
    ours = [(name, spec.description) for name, spec in AGENTS.items()]
    pruners = [(f"+{n}", spec.description) for n, spec in PRUNERS.items() if n != NO_PRUNER]
    others = [
        (f"{mark}{name}", f"Installed: {value}.")
        for kind, mark in (("agent", ""), ("pruner", "+"))
        for name, value in sorted(installed(kind).items())
    ]
    return [*ours, *pruners, *others]


def show(rows: list[tuple[str, str]]) -> int:
    """Print names with descriptions."""
    width = max(len(name) for name, _ in rows)
    for name, what in rows:
        print(f"{name:<{width}s}  {what}")
    return 0
