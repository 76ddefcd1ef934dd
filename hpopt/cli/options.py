"""Settings as options of the command line."""

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import StudyError

if TYPE_CHECKING:
    from ..settings.fields import Field

NOTHING_CAME = 1  # exit status where no trial ended with a value that counts
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} (see `{self.prog} --help`)")


def option(setting: str) -> str:
    """Return how a setting is written on the command line."""
    return f"--{setting.replace('_', '-')}"


def add_settings(parser: argparse.ArgumentParser, fields: "Iterable[Field]", *others: str) -> None:
    """Add options for settings, in their groups; what isn't given stays out of the namespace.

    Args:
        parser: of the command.
        fields: the settings.
        others: options that the command has beside them, for hints.
    """
    fields = tuple(fields)
    groups = {group: parser.add_argument_group(group) for group in groups_of(fields)}
    for field in fields:
        flag: dict[str, Any] = {"nargs": "?", "const": "true"} if bool in field.kinds else {}
        groups[field.about["group"]].add_argument(
            option(field.name),
            dest=field.name,
            action="append" if field.about["repeats"] else "store",
            default=argparse.SUPPRESS,
            metavar=field.metavar,
            help=field.about["help"].replace("%", "%%"),
            **flag,
        )
    parser.set_defaults(options=[*(option(field.name) for field in fields), *others])


def groups_of(fields: "Iterable[Field]") -> list[str]:
    """Return the groups of some settings, in the order in which a user meets them."""
    there = {field.about["group"] for field in fields}
    order = ("task and data", "what is tuned", "who decides", "budget", "record", "machine")
    return [group for group in order if group in there]


def given(asked: argparse.Namespace, fields: "Mapping[str, Field]") -> dict[str, Any]:
    """Return the settings that the command line gave, as values."""
    return {
        name: field.parse(getattr(asked, name))
        for name, field in fields.items()
        if hasattr(asked, name)
    }
