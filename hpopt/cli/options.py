"""Settings as options of the command line."""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from ..comparison.settings import ComparisonSettings
from ..errors import StudyError
from ..settings.study import Settings

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} (see `{self.prog} --help`)")


def option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


OF_A_STUDY = {setting.name: setting for setting in dataclasses.fields(Settings)}
OF_A_COMPARISON = {
    setting.name: setting for setting in dataclasses.fields(ComparisonSettings) if setting.metadata
}
SETTINGS = OF_A_STUDY | OF_A_COMPARISON


def add_settings(
    parser: argparse.ArgumentParser,
    names: Iterable[str],
    *others: str,
    helps: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Add options for settings; what isn't given stays out of the namespace."""
    for name in names:
        about, default = SETTINGS[name].metadata, SETTINGS[name].default
        shown = str(default).lower() if isinstance(default, bool) else default
        shown = ",".join(default) if isinstance(default, tuple) else shown
        told = "" if default is None else f" (default: {shown})"
        parser.add_argument(
            option(name),
            dest=name,
            action="append" if about["repeats"] else "store",
            default=argparse.SUPPRESS,
            metavar=about["metavar"] or name.upper().replace("_", "-"),
            help=(helps.get(name, about["help"]) + told).replace("%", "%%"),
        )
    parser.set_defaults(options=[*map(option, names), *others])


def given(asked: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The settings that the command line gave, parsed."""
    values = {}
    for name in names:
        if hasattr(asked, name):
            try:
                values[name] = SETTINGS[name].metadata["parse"](getattr(asked, name))
            except StudyError as error:
                raise StudyError(f"{name}: {error}") from None
    return values
