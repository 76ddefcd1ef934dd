"""What settings may be; each error has the setting's name, what must hold, and what was got."""

import math
from typing import Any

from ..errors import StudyError


def is_texts(value: Any) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def check_text(name: str, value: Any, optional: bool) -> None:
    if not (isinstance(value, str) and value) and not (optional and value is None):
        raise StudyError(f"{name}: must be a text, but got {value!r}")


def check_number(
    name: str,
    value: Any,
    low: float,
    *,
    whole: bool = False,
    above: bool = False,
    other: str = "",
) -> None:
    if value is None and name not in ("seed", "workers", "confirm_seeds"):
        return
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not low <= value < math.inf or (above and value == low):
        what = "a whole number" if whole else "a number"
        bound = "" if low == -math.inf else f" above {low}" if above else f" of at least {low}"
        bound += f" or {other!r}" if other else ""
        raise StudyError(f"{name}: must be {what}{bound}, but got {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise StudyError(f"{name}: must be one of {', '.join(choices)}, but got {value!r}")
