"""What a setting's value must be: its type, its bounds, its choices."""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hpopt_search_spaces.checks import shown

from ..errors import WorldError

NO_LIMIT = "none"  # a max_divergence
MOST = 2**63 - 1  # of whole numbers: what arrays can hold


def kinds_of(annotation: Any) -> frozenset[type]:
    """Return the types that a value may have by an annotation, but for None."""
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return frozenset(get_origin(part) or part for part in parts) - {NoneType}


def wrong(value: Any, kinds: frozenset[type], about: Mapping[str, Any]) -> str:
    """Return what must hold of a setting's value and doesn't; "" where all is well.

    Args:
        value: not None.
        kinds: types that it may have.
        about: see `hpopt_envs.settings.setting`; empty where nothing more is known.
    """
    choices = about.get("choices")
    if choices:
        return "" if value in choices else f"one of {', '.join(choices)}"
    if kinds & {int, float}:
        if str in kinds and value == NO_LIMIT:
            return ""
        other = f" or {NO_LIMIT!r}" if str in kinds else ""
        return f"{_bound(kinds, about)}{other}" if _is_out(value, kinds, about) else ""
    if bool in kinds:
        return "" if isinstance(value, bool) else "true or false"
    if Sequence in kinds:
        return "" if _is_texts(value) else f"a list of texts, {about['metavar']}"
    if isinstance(value, Mapping) and Mapping in kinds:
        return ""
    if str in kinds:
        sound = isinstance(value, str) and value and "\0" not in value
        return "" if sound else "a text"
    return "a table of values"


def check_settings(settings: Any) -> None:
    """Make sure that a dataclass of settings has values that these may have.

    Raises:
        WorldError: it hasn't; with the setting's name, what must hold, and what was got.
    """
    hints = get_type_hints(type(settings))
    for f in dataclasses.fields(settings):
        value, annotation = getattr(settings, f.name), hints[f.name]
        if dataclasses.is_dataclass(annotation) or (value is None and f.default is None):
            continue
        what = wrong(value, kinds_of(annotation), f.metadata)
        if what:
            name = f.metadata.get("name") or f.name
            raise WorldError(f"{name}: must be {what}, but got {shown(value)}")


def _limits(kinds: frozenset[type], about: Mapping[str, Any]) -> tuple[float, bool]:
    """Return the least number, and whether it is excluded."""
    least, above = about.get("least"), about.get("above")
    if above is not None:
        return above, True
    if least is None:
        least = 1 if int in kinds else -math.inf
    return least, False


def _is_out(value: Any, kinds: frozenset[type], about: Mapping[str, Any]) -> bool:
    whole, (low, excluded) = int in kinds, _limits(kinds, about)
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    most = MOST if whole else sys.float_info.max
    return not number or not low <= value <= most or (excluded and value == low)


def _bound(kinds: frozenset[type], about: Mapping[str, Any]) -> str:
    what, (low, excluded) = "a whole number" if int in kinds else "a number", _limits(kinds, about)
    if low == -math.inf:
        return what
    return f"{what} above {low:g}" if excluded else f"{what} of at least {low:g}"


def _is_texts(value: Any) -> bool:
    texts = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
    return texts and bool(value)
