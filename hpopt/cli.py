"""The command line: arguments to checked settings, and nothing else."""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from hpopt_search_spaces import HpoptError, nearest_names

from .comparison.settings import HELP, SHARED, ComparisonSettings, read_settings
from .errors import StudyError
from .settings import EXTENSIBLE, Settings, read_config, resume_command

if TYPE_CHECKING:
    from .display import Display
    from .result import StudyResult

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    # A job that a shell starts with & ignores SIGINT unless we say otherwise; and what stops a
    # service, SIGTERM, ends a study as cleanly as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        asked, unknown = _parser().parse_known_args(arguments)
        if unknown:
            near = nearest_names(unknown[0], asked.options)
            raise StudyError(f"unknown argument {unknown[0]!r} ({near})")
        status: int = asked.run(asked)
        return status
    except HpoptError as error:
        print(f"hpopt: {_as_option(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hpopt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return INTERRUPTED
    finally:
        _flush()


def _flush() -> None:
    """Write out what was printed; `| head` may have seen enough."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_option(message: str) -> str:
    """An error about a setting begins with its name: here that is an option's."""
    name, colon, rest = message.partition(":")
    return f"{_option(name)}{colon}{rest}" if name in {*_SETTINGS, "config"} else message


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m hpopt", description=_DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    search = commands.add_parser("search", help="find how to fine-tune a model within a budget")
    _add_settings(search, _OF_A_STUDY, "--config", "--dry-run")
    search.add_argument(
        "--config", metavar="TOML", help="settings from a file; the command line wins"
    )
    search.add_argument(
        "--dry-run", action="store_true", help="measure one segment, say what the study would cost"
    )
    search.set_defaults(run=_search)

    compare = commands.add_parser("compare", help="searchers at equal cost, on tasks and seeds")
    own = [name for name in _SETTINGS if name in _OF_A_COMPARISON]
    _add_settings(compare, [*own, *SHARED], "--config", helps=HELP)
    compare.add_argument(
        "--config", metavar="TOML", help="settings from a file; the command line wins"
    )
    compare.set_defaults(run=_compare)

    resume = commands.add_parser(
        "resume", help="go on with a study or comparison that was cut off, or extend a study"
    )
    resume.add_argument("study", metavar="NAME", help="of the study or the comparison")
    _add_settings(resume, [*EXTENSIBLE, "runs"])
    resume.set_defaults(run=_resume)

    page = commands.add_parser("report", help="a page with everything about a study or comparison")
    page.add_argument("study", metavar="NAME", help="of the study or the comparison")
    _add_settings(page, ["runs"])
    page.set_defaults(run=_report)

    export = commands.add_parser("export", help="the winner as code for a trainer of yours")
    export.add_argument("study", metavar="NAME", help="of the study")
    _add_settings(export, ["runs"], "--to", "--folder")
    export.add_argument("--to", required=True, metavar="TO", help="json, transformers or trl")
    export.add_argument("--folder", type=Path, help="(default: export/ in the study's)")
    export.set_defaults(run=_export)

    ui = commands.add_parser("ui", help="open MLflow's user interface on this machine")
    _add_settings(ui, ["tracking_uri", "runs"], "--port")
    ui.add_argument("--port", type=int, default=5000, metavar="N", help="(default: 5000)")
    ui.set_defaults(run=_ui)

    for name, what in (
        ("tasks", "what can be trained"),
        ("spaces", "what may be tuned"),
        ("agents", "who can decide"),
    ):
        listing = commands.add_parser(name, help=f"list {what}")
        listing.set_defaults(run=_list, listing=name, options=["--help"])
    return parser


_DESCRIPTION = (
    "hpopt finds how to fine-tune a language model within a compute budget: learning rate, "
    "batch size, and how hard to hold the model to its reference."
)


_OF_A_STUDY = {setting.name: setting for setting in dataclasses.fields(Settings)}
_OF_A_COMPARISON = {
    setting.name: setting for setting in dataclasses.fields(ComparisonSettings) if setting.metadata
}
_SETTINGS = _OF_A_STUDY | _OF_A_COMPARISON


def _add_settings(
    parser: argparse.ArgumentParser,
    names: Iterable[str],
    *others: str,
    helps: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Add options for settings; what isn't given stays out of the namespace."""
    for name in names:
        about, default = _SETTINGS[name].metadata, _SETTINGS[name].default
        shown = str(default).lower() if isinstance(default, bool) else default
        shown = ",".join(default) if isinstance(default, tuple) else shown
        told = "" if default is None else f" (default: {shown})"
        parser.add_argument(
            _option(name),
            dest=name,
            action="append" if about["repeats"] else "store",
            default=argparse.SUPPRESS,
            metavar=about["metavar"] or name.upper().replace("_", "-"),
            help=(helps.get(name, about["help"]) + told).replace("%", "%%"),
        )
    parser.set_defaults(options=[*map(_option, names), *others])


def _given(asked: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The settings that the command line gave, parsed."""
    values = {}
    for name in names:
        if hasattr(asked, name):
            try:
                values[name] = _SETTINGS[name].metadata["parse"](getattr(asked, name))
            except StudyError as error:
                raise StudyError(f"{name}: {error}") from None
    return values


def _search(asked: argparse.Namespace) -> int:
    values = {} if asked.config is None else read_config(asked.config)
    values |= _given(asked, _OF_A_STUDY)
    settings = Settings.of(values)
    if asked.dry_run:
        from .dry_run import dry_run

        print(dry_run(settings))
        return 0
    from .study import search

    return _watched(lambda display: search(settings, display))


def _compare(asked: argparse.Namespace) -> int:
    values = {} if asked.config is None else read_config(asked.config)
    values |= _given(asked, _SETTINGS)
    return _run_comparison(ComparisonSettings.of(values))


def _run_comparison(settings: ComparisonSettings) -> int:
    """Run a comparison, or go on with it, and show what came of it."""
    from .comparison.compare import compare, open_comparison, record_lines

    name = open_comparison(settings)
    try:
        compared = compare(settings, name, lambda text: print(text, flush=True))
    except (KeyboardInterrupt, BrokenPipeError):
        again = resume_command(name, settings.study.runs)
        print(f"hpopt: interrupted; `{again}` goes on with it", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(["", *compared.lines, "", *record_lines(compared, settings)]))
    return 0


def _resume(asked: argparse.Namespace) -> int:
    changes = _given(asked, EXTENSIBLE)
    runs = _given(asked, ["runs"]).get("runs", "runs")
    comparison = read_settings(asked.study, runs)
    if comparison is not None:
        if changes:
            raise StudyError(f"{next(iter(changes))}: can't be changed in a comparison")
        return _run_comparison(comparison)
    from .study import resume

    return _watched(lambda display: resume(asked.study, runs, changes, display))


def _watched(run: "Callable[[Display], StudyResult]") -> int:
    """Show a study while it runs, and what came of it."""
    from .display import make_display
    from .report import report

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


def _report(asked: argparse.Namespace) -> int:
    runs = _given(asked, ["runs"]).get("runs", "runs")
    comparison = read_settings(asked.study, runs)
    if comparison is not None:
        from .comparison.compare import write_verdict

        write_verdict(comparison, asked.study)
        print(comparison.folder(asked.study) / "report.html")
        return 0
    from .folders import find_study, read_study
    from .html.study import write_report

    history = read_study(asked.study, runs, "report")
    print(write_report(find_study(asked.study, runs, "report"), history))
    return 0


def _export(asked: argparse.Namespace) -> int:
    from .export import export, summary

    runs = _given(asked, ["runs"]).get("runs", "runs")
    print(summary(export(asked.study, runs, asked.to, asked.folder)))
    return 0


def _ui(asked: argparse.Namespace) -> int:
    from .tracking.reach import check_reachable
    from .tracking.ui import open_ui

    settings = Settings.of(_given(asked, ["tracking_uri", "runs"]))
    check_reachable(settings.uri)
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
