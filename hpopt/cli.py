"""The command line: arguments to checked settings, and nothing else."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from hpopt_search_spaces.errors import HpoptError

from .errors import StudyError
from .settings import Settings, read_config

EXTENSIBLE = ("trials", "cost", "time_limit")  # what `resume` may change
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    # A job that a shell starts with & ignores SIGINT unless we say otherwise; and what stops a
    # service, SIGTERM, ends a study as cleanly as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        asked = _parser().parse_args(arguments)
        status: int = asked.run(asked)
        return status
    except HpoptError as error:
        print(f"hpopt: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hpopt: interrupted", file=sys.stderr)
        return INTERRUPTED


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m hpopt", description=_DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    search = commands.add_parser("search", help="find how to fine-tune a model within a budget")
    _add_settings(search, [setting.name for setting in dataclasses.fields(Settings)])
    search.add_argument(
        "--config", metavar="TOML", help="settings from a file; the command line wins"
    )
    search.add_argument(
        "--dry-run", action="store_true", help="measure one segment, say what the study would cost"
    )
    search.set_defaults(run=_search)

    resume = commands.add_parser("resume", help="go on with a study that was cut off, or extend it")
    resume.add_argument("study", metavar="NAME", help="of the study")
    _add_settings(resume, [*EXTENSIBLE, "runs"])
    resume.set_defaults(run=_resume)

    ui = commands.add_parser("ui", help="open MLflow's user interface on this machine")
    _add_settings(ui, ["tracking_uri", "runs"])
    ui.add_argument("--port", type=int, default=5000, help="(default: 5000)")
    ui.set_defaults(run=_ui)

    for name, what in (
        ("tasks", "what can be trained"),
        ("spaces", "what may be tuned"),
        ("agents", "who can decide"),
    ):
        listing = commands.add_parser(name, help=f"list {what}")
        listing.set_defaults(run=_list, listing=name)
    return parser


_DESCRIPTION = (
    "hpopt finds how to fine-tune a language model within a compute budget: learning rate, "
    "batch size, and how hard to hold the model to its reference."
)


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add options for settings; what isn't given stays out of the namespace."""
    for setting in dataclasses.fields(Settings):
        if setting.name not in names:
            continue
        about = setting.metadata
        default = setting.default
        told = "" if default is None or "default" in about["help"] else f" (default: {default})"
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}",
            dest=setting.name,
            default=argparse.SUPPRESS,
            metavar=about["metavar"] or setting.name.upper().replace("_", "-"),
            help=(about["help"] + told).replace("%", "%%"),
        )


def _given(asked: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The settings that the command line gave, parsed."""
    values = {}
    for setting in dataclasses.fields(Settings):
        if setting.name in names and hasattr(asked, setting.name):
            try:
                values[setting.name] = setting.metadata["parse"](getattr(asked, setting.name))
            except StudyError as error:
                option = setting.name.replace("_", "-")
                raise StudyError(f"--{option}: {error}") from None
    return values


def _search(asked: argparse.Namespace) -> int:
    values = read_config(asked.config) if asked.config else {}
    values |= _given(asked, [setting.name for setting in dataclasses.fields(Settings)])
    settings = Settings.of(values)
    if asked.dry_run:
        from .dry_run import dry_run

        print(dry_run(settings))
        return 0
    from .display import make_display
    from .report import report
    from .study import search

    display = make_display()
    try:
        result = search(settings, display)
    except KeyboardInterrupt:
        return _interrupted(display.name)
    print(report(result, settings))
    return 0


def _resume(asked: argparse.Namespace) -> int:
    changes = _given(asked, EXTENSIBLE)
    runs = _given(asked, ["runs"]).get("runs", "runs")
    from .display import make_display
    from .report import report
    from .study import resume

    display = make_display()
    try:
        result = resume(asked.study, runs, changes, display)
    except KeyboardInterrupt:
        return _interrupted(display.name)
    print(report(result, display.settings))
    return 0


def _interrupted(name: str | None) -> int:
    again = f"; `python -m hpopt resume {name}` goes on with it" if name else ""
    print(f"hpopt: interrupted{again}", file=sys.stderr)
    return INTERRUPTED


def _ui(asked: argparse.Namespace) -> int:
    from .tracking.ui import open_ui

    settings = Settings.of(_given(asked, ["tracking_uri", "runs"]))
    open_ui(settings.uri, asked.port)
    return 0


def _list(asked: argparse.Namespace) -> int:
    if asked.listing == "tasks":
        from hpopt_envs.tasks import available_tasks

        rows = available_tasks()
    elif asked.listing == "spaces":
        from hpopt_search_spaces import available_spaces

        rows = available_spaces()
    else:
        from .searchers import AGENTS

        rows = [(name, spec.description) for name, spec in AGENTS.items()]
    width = max(len(name) for name, _ in rows)
    for name, what in rows:
        print(f"{name:<{width}s}  {what}")
    return 0
