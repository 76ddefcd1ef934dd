"""The command line: arguments to checked settings, and nothing else."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hpopt_search_spaces import HpoptError, nearest_names

from ..comparison.settings import HELP, SHARED
from ..errors import StudyError
from ..settings.study import EXTENSIBLE
from . import commands
from .options import (
    INTERRUPTED,
    OF_A_COMPARISON,
    OF_A_STUDY,
    SETTINGS,
    Parser,
    add_settings,
    option,
)


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
    return f"{option(name)}{colon}{rest}" if name in {*SETTINGS, "config"} else message


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m hpopt", description=_DESCRIPTION)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    search = subparsers.add_parser("search", help="find how to fine-tune a model within a budget")
    add_settings(search, OF_A_STUDY, "--config", "--dry-run")
    search.add_argument(
        "--config", metavar="TOML", help="settings from a file; the command line wins"
    )
    search.add_argument(
        "--dry-run", action="store_true", help="measure one segment, say what the study would cost"
    )
    search.set_defaults(run=commands.run_search)

    compare = subparsers.add_parser("compare", help="searchers at equal cost, on tasks and seeds")
    own = [name for name in SETTINGS if name in OF_A_COMPARISON]
    add_settings(compare, [*own, *SHARED], "--config", helps=HELP)
    compare.add_argument(
        "--config", metavar="TOML", help="settings from a file; the command line wins"
    )
    compare.set_defaults(run=commands.run_compare)

    resume = subparsers.add_parser(
        "resume", help="go on with a study or comparison that was cut off, or extend a study"
    )
    resume.add_argument("study", metavar="NAME", help="of the study or the comparison")
    add_settings(resume, [*EXTENSIBLE, "runs"])
    resume.set_defaults(run=commands.run_resume)

    page = subparsers.add_parser(
        "report", help="a page with everything about a study or comparison"
    )
    page.add_argument("study", metavar="NAME", help="of the study or the comparison")
    add_settings(page, ["runs"])
    page.set_defaults(run=commands.run_report)

    export = subparsers.add_parser("export", help="the winner as code for a trainer of yours")
    export.add_argument("study", metavar="NAME", help="of the study")
    add_settings(export, ["runs"], "--to", "--folder")
    export.add_argument("--to", required=True, metavar="TO", help="json, transformers or trl")
    export.add_argument("--folder", type=Path, help="(default: export/ in the study's)")
    export.set_defaults(run=commands.run_export)

    ui = subparsers.add_parser("ui", help="open MLflow's user interface on this machine")
    add_settings(ui, ["tracking_uri", "runs"], "--port")
    ui.add_argument("--port", type=int, default=5000, metavar="N", help="(default: 5000)")
    ui.set_defaults(run=commands.run_ui)

    for name, what in (
        ("tasks", "what can be trained"),
        ("spaces", "what may be tuned"),
        ("agents", "who can decide"),
    ):
        listing = subparsers.add_parser(name, help=f"list {what}")
        listing.set_defaults(run=commands.run_list, listing=name, options=["--help"])
    return parser


_DESCRIPTION = (
    "hpopt finds how to fine-tune a language model within a compute budget: learning rate, "
    "batch size, and how hard to hold the model to its reference."
)
