"""What options of the command line say, as values.

Each function raises `StudyError` with what must hold and what was got; its caller names the option.
"""

import re

from hpopt_envs.settings import NO_LIMIT
from hpopt_search_spaces import Value
from hpopt_search_spaces.checks import shown

from ..errors import StudyError

LABEL = "AGENT[-cold][+PRUNER]"


def parse_integer(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise StudyError(f"must be a whole number, but got {shown(text)}") from None


def parse_number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise StudyError(f"must be a number, but got {shown(text)}") from None


def parse_limit(text: str) -> float | str:
    """Read a number, or "none"."""
    if text == NO_LIMIT:
        return text
    try:
        return float(text)
    except ValueError:
        raise StudyError(f"must be a number or {NO_LIMIT!r}, but got {shown(text)}") from None


def parse_flag(text: str) -> bool:
    """Read "true" or "false"."""
    if text not in ("true", "false"):
        raise StudyError(f"must be true or false, but got {shown(text)}")
    return text == "true"


def parse_seconds(text: str) -> float:
    """Read a duration: seconds, or a number with s, m or h."""
    match = re.fullmatch(r"(\d+|\d*\.\d+)([smh]?)", text)
    if match is None:
        raise StudyError(f"must be a duration such as 90, 15m or 2h, but got {shown(text)}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def parse_names(text: str) -> tuple[str, ...]:
    """Read "name,name"."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise StudyError(f"must be name,name, but got {shown(text)}")
    return names


def parse_values(text: str) -> dict[str, Value]:
    """Read "name=value,name=value"; numbers and booleans become what they look like."""
    values: dict[str, Value] = {}
    for part in text.split(","):
        name, separator, value = part.partition("=")
        if not separator or not name.strip() or not value.strip():
            raise StudyError(f"must be name=value,name=value, but got {shown(text)}")
        if name.strip() in values:
            raise StudyError(f"must name each value once, but got {shown(text)}")
        values[name.strip()] = _literal(value.strip())
    return values


def _literal(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_label(text: str) -> tuple[str, str, str]:
    """Read AGENT[-cold][+PRUNER]: agent, prior ("default" or "none") and pruner ("none" or a name).

    Raises:
        StudyError: it hasn't that form; the text begins with "agent".
    """
    matched = re.fullmatch(r"([^+@]+?)(-cold)?(?:\+([^+@]+))?", text)
    if matched is None:
        raise StudyError(f"agent: must be {LABEL}, but got {shown(text)}")
    agent, cold, pruner = matched.groups()
    return agent, "none" if cold else "default", pruner or "none"
