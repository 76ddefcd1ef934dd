"""Settings as users write them: flat names, each with the place where its value is kept."""

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hpopt_envs.settings import NO_LIMIT
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

MOST = 2**63 - 1  # of whole numbers: what arrays can hold


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
        union = isinstance(self.annotation, UnionType)
        parts = get_args(self.annotation) if union else (self.annotation,)
        return frozenset(get_origin(part) or part for part in parts) - {NoneType}

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
        wrong = self._wrong(value)
        if wrong:
            raise StudyError(f"{self.name}: must be {wrong}, but got {shown(value)}")

    def _wrong(self, value: Any) -> str:
        """Return what must hold and doesn't; "" where all is well."""
        kinds, choices = self.kinds, self.about["choices"]
        if choices:
            return "" if value in choices else f"one of {', '.join(choices)}"
        if kinds & {int, float}:
            if str in kinds and value == NO_LIMIT:
                return ""
            other = f" or {NO_LIMIT!r}" if str in kinds else ""
            return f"{self._bound()}{other}" if self._is_out(value) else ""
        if bool in kinds:
            return "" if isinstance(value, bool) else "true or false"
        if Sequence in kinds:
            return "" if _is_texts(value) else f"a list of texts, {self.metavar}"
        if isinstance(value, Mapping) and Mapping in kinds:
            return ""
        if str in kinds:
            sound = isinstance(value, str) and value and "\0" not in value
            return "" if sound else "a text"
        return "a table of values"

    def _limits(self) -> tuple[float, bool]:
        """Return the least number, and whether it is excluded."""
        least, above = self.about["least"], self.about["above"]
        if above is not None:
            return above, True
        if least is None:
            least = 1 if int in self.kinds else -math.inf
        return least, False

    def _is_out(self, value: Any) -> bool:
        whole, (low, excluded) = int in self.kinds, self._limits()
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        most = MOST if whole else sys.float_info.max
        return not number or not low <= value <= most or (excluded and value == low)

    def _bound(self) -> str:
        what, (low, excluded) = (
            "a whole number" if int in self.kinds else "a number",
            self._limits(),
        )
        if low == -math.inf:
            return what
        return f"{what} above {low:g}" if excluded else f"{what} of at least {low:g}"


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


def _is_texts(value: Any) -> bool:
    texts = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
    return texts and bool(value)
