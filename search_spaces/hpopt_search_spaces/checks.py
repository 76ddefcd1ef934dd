"""Checks that parameters share; each raises one line that says what must hold and what was got."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import SpaceError

Value = float | int | str | bool
"""What a hyperparameter can be."""

AUTO_NAMES = ("learning_rate", "batch_size", "divergence_weight", "final_divergence_weight")
"""Parameters whose default may be "auto" (the rules are in `hpopt_search_spaces.auto`)."""


MOST_FLOAT = sys.float_info.max
_LONGEST = 200  # characters of a value in a message
_MOST_OCTAVES = 100  # a factor of 1e30


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Return what to say after an unknown name: the names closest to it.

    Returns:
        "nearest: a, b" or, where nothing is close, "known: a, b, c".
    """
    names = list(known)
    name = name[:_LONGEST]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"nearest: {', '.join(close)}" if close else f"known: {', '.join(names) or 'none'}"


def require(holds: bool, name: str, what: str, /, **got: object) -> None:
    """Raise SpaceError("name: what, but got key=value, ...") unless it holds."""
    if not holds:
        told = ", ".join(f"{key}={shown(value)}" for key, value in got.items())
        raise SpaceError(f"{name}: {what}, but got {told}")


def shown(value: object) -> str:
    """Return how a value is written, cut to a line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits have no text
        return "more than can be shown"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def is_number(value: object) -> bool:
    """Return whether it is a finite int or float; a bool is not a number here."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST_FLOAT
    )


def is_integer(value: object) -> bool:
    """Return whether it is an int that arrays can hold; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def checked_number(name: str, raw: Value) -> float:
    """Return the value, after a check that it is a number."""
    if isinstance(raw, str) or not is_number(raw):
        raise SpaceError(f"{name}: must be a finite number, but got {shown(raw)}")
    return raw


def clip(value: float, low: float, high: float) -> float:
    """Return the nearest number in [low, high]."""
    return min(max(value, low), high)


def checked_active_when(name: str, active_when: Any) -> dict[str, tuple[Value, ...]]:
    """`active_when` with its values as tuples, after a check of its form."""
    what = "active_when must be a table of lists"
    require(isinstance(active_when, Mapping), name, what, active_when=active_when)
    for allowed in active_when.values():
        require(isinstance(allowed, list | tuple) and allowed != [], name, what, value=allowed)
    return {parent: tuple(allowed) for parent, allowed in active_when.items()}


def check_flags(name: str, **flags: object) -> None:
    """Require that each is true or false."""
    for key, value in flags.items():
        require(isinstance(value, bool), name, f"{key} must be true or false", **{key: value})


def checked_octaves(
    name: str, octaves: Any, low: float, high: float, is_log: bool
) -> tuple[float, float]:
    """Return a range in octaves around the default, after a check; it replaces low and high."""
    pair = isinstance(octaves, list | tuple) and len(octaves) == 2 and all(map(is_number, octaves))
    require(pair, name, "octaves must be two numbers", octaves=octaves)
    below, above = octaves
    around = below <= 0 <= above and below < above
    require(around, name, "octaves must reach from below the default to above", octaves=octaves)
    near = max(-below, above) <= _MOST_OCTAVES
    require(near, name, f"octaves must be {_MOST_OCTAVES} at most, either way", octaves=octaves)
    require(is_log, name, "octaves must be on a log scale", octaves=octaves, log=False)
    what = "low and high must be left out beside octaves"
    require(low == high == 0, name, what, low=low, high=high)
    return (float(below), float(above))


def check_range(name: str, low: float, high: float, is_log: bool) -> None:
    """Require low < high, and on a log scale 0 < low."""
    require(low < high, name, "low must be below high", low=low, high=high)
    require(not is_log or low > 0, name, "low must be above 0 on a log scale", low=low, high=high)


def check_auto(name: str) -> None:
    """Require that there is a rule for this parameter's default."""
    what = f'default can be "auto" only for {", ".join(AUTO_NAMES)}'
    require(name in AUTO_NAMES, name, what, default="auto")


def check_resolved(name: str, octaves: object) -> None:
    """Require that the range is in numbers."""
    require(octaves is None, name, "the space must be resolved first", octaves=octaves)


def check_fixed(name: str, fixed: Any) -> None:
    """Require that what a space has fixed is a table of plain values."""
    what = "fixed must be a table of numbers, strings or booleans"
    require(isinstance(fixed, Mapping), name, what, fixed=fixed)
    for key, value in fixed.items():
        require(isinstance(value, str | bool) or is_number(value), name, what, **{str(key): value})
