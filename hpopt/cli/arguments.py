"""The arguments of each command."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..comparison.settings import COMPARISON_FIELDS
from ..pretraining.settings import PRETRAINING_FIELDS
from ..settings.fields import Field
from ..settings.groups import EXTENSIBLE
from ..settings.study import FIELDS
from . import commands
from .options import add_settings


def fill(name: str, parser: argparse.ArgumentParser) -> None:
    """Add a command's arguments to its parser, and what runs it."""
    _FILLERS[name](parser)


def _search(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, FIELDS.values(), "--config", "--dry-run")
    _add_config(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="measure one segment, say what the study would cost"
    )
    parser.set_defaults(run=commands.run_search)


def _compare(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, COMPARISON_FIELDS.values(), "--config")
    _add_config(parser)
    parser.set_defaults(run=commands.run_compare)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="TOML",
        help="file of settings, by their names with underscores; the command line wins "
        "(default: none)",
    )


def _resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="NAME", help="name of the study or the comparison")
    add_settings(parser, (FIELDS["runs"], *(_extended(FIELDS[name]) for name in EXTENSIBLE)))
    parser.set_defaults(run=commands.run_resume)


def _extended(field: Field) -> Field:
    """Return a limit as a study that goes on has it: where nothing is said, it stays."""
    text = field.about["help"].partition(" (default")[0]
    return replace(field, about={**field.about, "help": f"{text} (default: as it was)"})


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="NAME", help="name of the study or the comparison")
    add_settings(parser, [FIELDS["runs"]])
    parser.set_defaults(run=commands.run_report)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="NAME", help="name of the study")
    parser.add_argument(
        "--to",
        metavar="TO",
        help="what is written: json, transformers or trl (default: of a command, that is printed)",
    )
    parser.add_argument(
        "--folder", type=Path, help="where it is written (default: export/ in the study's folder)"
    )
    add_settings(parser, [FIELDS["runs"]], "--to", "--folder")
    parser.set_defaults(run=commands.run_export)


def _pretrain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the policy is written")
    add_settings(parser, PRETRAINING_FIELDS.values())
    parser.set_defaults(run=commands.run_pretrain)


def _ui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=int, default=5000, metavar="N", help="where it listens (default: 5000)"
    )
    add_settings(parser, (FIELDS[name] for name in ("tracking_uri", "runs")), "--port")
    parser.set_defaults(run=commands.run_ui)


def _listing(rows: Callable[[], list[tuple[str, str]]]) -> Callable[..., None]:
    def fill(parser: argparse.ArgumentParser) -> None:
        parser.set_defaults(run=lambda asked: commands.show(rows()), options=["--help"])

    return fill


_FILLERS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "search": _search,
    "compare": _compare,
    "resume": _resume,
    "report": _report,
    "export": _export,
    "pretrain": _pretrain,
    "ui": _ui,
    "tasks": _listing(commands.tasks),
    "spaces": _listing(commands.spaces),
    "agents": _listing(commands.agents),
}
