"""How a setting is declared: a field that a command line can ask for and explain."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from hpopt_search_spaces import nearest_names

from ..errors import WorldError

# Groups that a command line explains settings in.
DATA = "task and data"
TUNED = "what is tuned"
BUDGET = "budget"
MACHINE = "machine"


def setting(
    default: Any,
    help: str,
    *,
    group: str,
    metavar: str = "",
    name: str = "",
    repeats: bool = False,
    least: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], Any] | None = None,
) -> Any:
    """Return a field of a dataclass that a command line can ask for, explain and check.

    Args:
        default: where a user says nothing.
        help: one line: what it is, for which tasks, and what it is by default.
        group: what it is explained together with.
        metavar: stands for its value; "" leaves that to the command line.
        name: how a user writes it, where that isn't the field's name.
        repeats: whether it may be given several times.
        least: what a number must at least be; a whole number, 1 where nothing is said.
        above: what a number must be more than.
        choices: what a text must be one of; empty for any text.
        parse: reads what was typed, where that doesn't follow from the field's type.
    """
    about = {
        "help": help,
        "group": group,
        "metavar": metavar,
        "name": name,
        "repeats": repeats,
        "least": least,
        "above": above,
        "choices": choices,
        "parse": parse,
    }
    return field(default=default, metadata=about)


def check_characters(name: str, value: Any) -> None:
    """Make sure that what a setting says can be encoded: bytes that no locale reads can't.

    Raises:
        WorldError: it can't.
    """
    for text in [value] if isinstance(value, str) else value if isinstance(value, list) else ():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise WorldError(f"{name}: must have whole characters, but got {text!r}") from None


def check_names(settings: Mapping[str, Any], kind: type[Any]) -> None:
    """Make sure that a dataclass has fields of these names.

    Raises:
        WorldError: it lacks one; with the names nearest to it.
    """
    known = [f.name for f in dataclasses.fields(kind)]
    for name in settings:
        if name not in known:
            raise WorldError(f"{name}: there is no such setting ({nearest_names(name, known)})")
