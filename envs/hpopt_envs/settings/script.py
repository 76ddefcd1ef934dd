"""What a user may say of a training script of their own: its command, and where its value is."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from ..errors import WorldError
from .fields import BUDGET, DATA, check_characters, check_names, setting
from .values import check_settings


@dataclass(frozen=True)
class Script:
    """What the settings of a study say of a user's own training script; None for nothing."""

    command: str | None = setting(
        None,
        "training script of your own, with {learning_rate}, {seed}, {folder} ... where values go "
        "(default: none)",
        group=DATA,
        metavar="TEMPLATE",
    )
    value: str | None = setting(
        None,
        "with --command: what it reports and is tuned: NAME, NAME:min or NAME:max (default: none)",
        group=DATA,
        metavar="NAME",
    )
    value_file: str | None = setting(
        None,
        "with --command: file in {folder} that has the value, .json or .jsonl (default: none)",
        group=DATA,
        metavar="FILE",
    )
    value_pattern: str | None = setting(
        None,
        "with --command: expression whose one group is the value, on its output (default: none)",
        group=DATA,
        metavar="REGEX",
    )
    fraction: float | None = setting(
        None,
        "with --command: share of a full run that a trial is, for {fraction} (default: 1.0)",
        group=BUDGET,
        metavar="F",
        above=0,
    )
    steps: int | None = setting(
        None,
        "with --command: steps that a trial trains, for {steps} (default: none)",
        group=BUDGET,
        metavar="N",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        for name, value in self.given.items():
            check_characters(name, value)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Script":
        """Return what a mapping says.

        Raises:
            WorldError: a name is unknown, or a value impossible.
        """
        check_names(settings, cls)
        return cls(**settings)

    @property
    def given(self) -> dict[str, Any]:
        """The settings that say something, by name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Names in the command's braces, in order, each once.

        Raises:
            WorldError: a brace stands alone, or has more than a name in it.
        """
        return tuple(dict.fromkeys(name for _, name in pieces(self.command or "") if name))


def pieces(text: str) -> list[tuple[str, str | None]]:
    """Return a template's parts: a text as it stands, and the placeholder behind it, if any.

    "{{" and "}}" stand for braces.

    Raises:
        WorldError: a brace stands alone, or has more than a name in it.
    """
    try:
        found = list(Formatter().parse(text))
    except ValueError as error:
        raise WorldError(
            f"command: must have braces in pairs ({{{{ for one), but {error}"
        ) from None
    for _, name, spec, conversion in found:
        if name is not None and (spec or conversion or not name.isidentifier()):
            more = f"!{conversion}" if conversion else f":{spec}" if spec else ""
            raise WorldError(
                "command: must have a name alone in braces ({{ for one that stays), but got "
                f"{{{name}{more}}}"
            )
    return [(literal, name) for literal, name, _, _ in found]
