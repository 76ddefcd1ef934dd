"""A command with placeholders, and what stands for them in a trial."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from hpopt_search_spaces import Value

from ..errors import WorldError
from ..settings.script import pieces

OURS = ("seed", "folder", "fraction", "steps")  # placeholders that are no hyperparameters
SEEDS = 2**31  # what every generator takes: seeds are below


@dataclass(frozen=True)
class Template:
    """A command's arguments, each with placeholders in it; no shell ever sees the values.

    Attributes:
        arguments: the program first.
    """

    arguments: tuple[str, ...]

    @classmethod
    def of(cls, command: str) -> "Template":
        """Divide a command into arguments, as a shell would.

        Raises:
            WorldError: a quote isn't closed, or there is nothing in it.
        """
        try:
            arguments = shlex.split(command)
        except ValueError as error:
            raise WorldError(f"command: must be quoted as for a shell, but: {error}") from None
        if not arguments:
            raise WorldError("command: must begin with a program, but is empty")
        return cls(tuple(arguments))

    @property
    def program(self) -> str:
        """What runs."""
        return self.arguments[0]

    def filled(self, values: Mapping[str, Value]) -> list[str]:
        """Return the arguments with values in place of placeholders.

        Args:
            values: by placeholder; booleans are written as in TOML, true and false.
        """
        return [
            "".join(
                literal + ("" if name is None else _written(values[name]))
                for literal, name in pieces(argument)
            )
            for argument in self.arguments
        ]


def _written(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def command_line(command: str, values: Mapping[str, Value]) -> str:
    """Return a command to type: its template with values, quoted for a shell."""
    return shlex.join(Template.of(command).filled(values))
