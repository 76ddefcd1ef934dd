"""Settings as users write them: flat names, each with the place where its value is kept."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from hpopt_envs.settings.values import kinds_of, wrong
from hpopt_search_spaces.checks import shown

from ..errors import StudyError
from .parsing import (
    parse_flag,
    parse_integer,
    parse_limit,
    parse_names,
    parse_number,
    parse_values,
)

_PARSERS: dict[frozenset[type], Callable[[str], Any]] = {
    frozenset({bool}): parse_flag,
    frozenset({int}): parse_integer,
    frozenset({float}): parse_number,
    frozenset({float, str}): parse_limit,
    frozenset({Mapping}): parse_values,
    frozenset({Sequence}): parse_names,
}


@dataclass(frozen=True)
class Field:
    """A setting.

    Attributes:
        name: as users write it, in Python, files and (with hyphens) on the command line.
        path: names of the attributes that lead to its value.
        annotation: the type of its value.
        default: where a user says nothing.
        about: see `hpopt_envs.settings.setting`.
    """

    name: str
    path: tuple[str, ...]
    annotation: Any
    default: Any
    about: Mapping[str, Any]

    @property
    def kinds(self) -> frozenset[type]:
        """The types that a value may have, but for None."""
        return kinds_of(self.annotation)

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return self.default is None

    @property
    def metavar(self) -> str:
        """What stands for its value in a help text."""
        return self.about["metavar"] or self.name.upper().replace("_", "-")

    def parse(self, typed: Any) -> Any:
        """Return the value of what was typed: a text, or a list of them where it repeats.

        Raises:
            StudyError: it can't be read; the text begins with the setting's name.
        """
        parse = self.about["parse"] or _PARSERS.get(self.kinds, str)
        try:
            return tuple(typed) if self.about["repeats"] else parse(typed)
        except StudyError as error:
            raise StudyError(f"{self.name}: {error}") from None

    def check(self, value: Any) -> None:
        """Make sure that it may have a value.

        Raises:
            StudyError: it may not; the text has the name, what must hold, and what was got.
        """
        if value is None and self.optional:
            return
        what = wrong(value, self.kinds, self.about)
        if what:
            raise StudyError(f"{self.name}: must be {what}, but got {shown(value)}")


def fields_of(settings: type[Any]) -> dict[str, Field]:
    """Return the settings of a dataclass and of the dataclasses in it, by their flat names."""
    found: dict[str, Field] = {}
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        if field.metadata:
            name = field.metadata["name"] or field.name
            found[name] = Field(
                name, (field.name,), hints[field.name], field.default, field.metadata
            )
        elif dataclasses.is_dataclass(hints[field.name]):
            for inner in fields_of(hints[field.name]).values():
                path = (field.name, *inner.path)
                found[inner.name] = dataclasses.replace(inner, path=path)
    return found
