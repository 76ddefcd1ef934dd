"""What may be tuned: the kinds of parameters, and their form in TOML and JSON.

Each has native values, which are recorded, and a place in the unit interval, where agents act.
Whatever `from_unit` and `snap` return is legal, and `from_unit(to_unit(v)) == v` for such a v.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from .auto import TrainingFacts, auto_default
from .checks import Value, nearest_names, require
from .choices import ChoiceParameter
from .errors import SpaceError
from .floats import FloatParameter
from .integers import IntegerParameter

Parameter = FloatParameter | IntegerParameter | ChoiceParameter

_KINDS: dict[str, type[Parameter]] = {
    "float": FloatParameter,
    "integer": IntegerParameter,
    "choice": ChoiceParameter,
}


def parameter_from_table(name: str, table: Any) -> Parameter:
    """Return a parameter from its table: `type`, and the attributes of that type but for the name.

    `low` and `high` are left out beside `octaves`; whatever has a default value may be left out.

    Raises:
        SpaceError: an unknown, missing or wrong key.
    """
    require(isinstance(table, Mapping), name, "must be a table", value=table)
    require(name.isidentifier(), name, "a parameter's name must be an identifier", name=name)
    given = dict(table)
    type_name = given.pop("type", None)
    known_type = isinstance(type_name, str) and type_name in _KINDS
    require(known_type, name, f"type must be one of {', '.join(_KINDS)}", type=type_name)
    kind = _KINDS[type_name]
    keys = {key.name: key for key in fields(kind) if key.name != "name"}
    for key in given:
        if key not in keys:
            raise SpaceError(f"{name}: unknown key {key!r} ({nearest_names(key, keys)})")
    if "octaves" in given:
        given = {"low": 0, "high": 0} | given
    for key, about in keys.items():
        optional = about.default is not MISSING or about.default_factory is not MISSING
        if key not in given and not optional:
            raise SpaceError(f"{name}: {key} must be given for type {type_name!r}")
    return kind(name, **given)


def parameter_to_table(parameter: Parameter) -> dict[str, Any]:
    """Return the table that `parameter_from_table` reads back exactly; JSON can carry it."""
    table: dict[str, Any] = {"type": next(t for t, k in _KINDS.items() if k is type(parameter))}
    for key in fields(parameter):
        value = getattr(parameter, key.name)
        if key.name == "name" or value is None:
            continue
        table[key.name] = list(value) if isinstance(value, tuple) else value
    active_when = {parent: list(allowed) for parent, allowed in parameter.active_when.items()}
    return table | {"active_when": active_when}


def check_value(parameter: Parameter, value: Value) -> None:
    """Require that a native value is legal for a parameter."""
    if parameter.contains(value):
        return
    if isinstance(parameter, ChoiceParameter):
        legal = f"one of {list(parameter.choices)}"
    else:
        kind = "a number" if isinstance(parameter, FloatParameter) else "a whole number"
        if isinstance(parameter, IntegerParameter) and parameter.powers_of_two:
            kind = "a power of two"
        zero = "0 or " if isinstance(parameter, FloatParameter) and parameter.zero else ""
        legal = f"{zero}{kind} between {parameter.low} and {parameter.high}"
    raise SpaceError(f"{parameter.name}: must be {legal}, but got {value!r}")


def resolved(parameter: Parameter, facts: TrainingFacts) -> Parameter:
    """Return a parameter with numbers for "auto" and octaves."""
    if isinstance(parameter, ChoiceParameter) or parameter.is_resolved:
        return parameter
    auto = parameter.default == "auto"
    default = auto_default(parameter.name, facts) if auto else float(parameter.default)
    if isinstance(parameter, IntegerParameter):
        return parameter.resolve(round(default))
    return parameter.resolve(default)


def with_default(parameter: Parameter, value: Value) -> Parameter:
    """Return a parameter with another default.

    Raises:
        SpaceError: its range doesn't have it.
    """
    if isinstance(parameter, ChoiceParameter) or parameter.octaves is None:
        check_value(parameter, value)
    return replace(parameter, default=value)  # type: ignore[arg-type]  # checked by the class
