"""How a setting is declared: a field that a command line can ask for and explain."""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from hpopt_search_spaces import nearest_names

from ..errors import WorldError

# Groups that a command line explains settings in.
DATA = "task and data"
TUNED = "what is tuned"
BUDGET = "budget"
MACHINE = "machine"
CHOICES = {
    "class_weights": ("none", "balanced"),
    "too_long": ("refuse", "truncate"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("auto", "float32", "bfloat16"),
}


def setting(
    default: Any,
    help: str,
    *,
    group: str,
    metavar: str = "",
    name: str = "",
    repeats: bool = False,
) -> Any:
    """Return a field of a dataclass that a command line can ask for and explain.

    Args:
        default: where a user says nothing.
        help: one line: what it is, for which tasks, and what it is by default.
        group: what it is explained together with.
        metavar: stands for its value; "" leaves that to the command line.
        name: how a user writes it, where that isn't the field's name.
        repeats: whether it may be given several times.
    """
    about = {"help": help, "group": group, "metavar": metavar, "name": name, "repeats": repeats}
    return field(default=default, metadata=about)


def check_choices(settings: Any) -> None:
    """Make sure that settings of a few possible values have one of these.

    Raises:
        WorldError: one has another value.
    """
    for f in dataclasses.fields(settings):
        choices, value = CHOICES.get(f.name), getattr(settings, f.name)
        if choices is not None and value not in choices:
            raise WorldError(f"{f.name}: must be one of {', '.join(choices)}, but got {value!r}")


def check_names(settings: Mapping[str, Any], kind: type[Any]) -> None:
    """Make sure that a dataclass has fields of these names.

    Raises:
        WorldError: it lacks one; with the names nearest to it.
    """
    known = [f.name for f in dataclasses.fields(kind)]
    for name in settings:
        if name not in known:
            raise WorldError(f"{name}: there is no such setting ({nearest_names(name, known)})")
