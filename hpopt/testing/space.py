"""Whether a search space can be searched."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpopt_search_spaces import (
    ChoiceParameter,
    Parameter,
    SearchSpace,
    TrainingFacts,
    Value,
    load_space,
)

from .requiring import checking, require

POINTS = 200  # of the unit cube
# What "auto" has to cope with: the embedded model, LoRA on a mid-sized one, a large model.
FACTS = (
    TrainingFacts(560_000, 560_000, 65_536, 64, lora=False),
    TrainingFacts(135_000_000, 1_000_000, 1_000_000, 512, lora=True),
    TrainingFacts(7_000_000_000, 7_000_000_000, 100_000_000, 2048, lora=False),
)


def check_space(space: SearchSpace | str | Path) -> None:
    """Check a search space.

    - it resolves for small and large models, with LoRA and without, where it has "auto";
    - JSON carries it: `from_dict(to_dict())` is the same space, and so are its values;
    - the defaults are legal, and are what `default_unit` decodes to;
    - values at random points of the unit cube are native and legal, and those of active parameters
      alone: none whose `active_when` isn't met, and all others;
    - `decode(encode(values)) == values` for them, with coordinates in [0, 1];
    - `snap` leaves legal values as they are, and makes legal ones of others.

    Args:
        space: a space, the name of a shipped one, or a TOML file.

    Raises:
        AssertionError: one line: what must hold, and what was got.
    """
    where = f"space {space.name if isinstance(space, SearchSpace) else space}"
    with checking(where):
        loaded = space if isinstance(space, SearchSpace) else load_space(space)
        _check_json(loaded, where)
        if loaded.is_resolved:
            _check_resolved(loaded, where)
            return
        for facts in FACTS:
            resolved = loaded.resolve(facts)
            what = f"must be in numbers once it is resolved for {facts}"
            waiting = [p.name for p in resolved.parameters if not p.is_resolved]
            require(resolved.is_resolved, where, what, waiting)
            _check_resolved(resolved, f"{where} for {facts.total_parameters:,} parameters")


def _check_resolved(space: SearchSpace, where: str) -> None:
    _check_json(space, where)
    defaults = space.defaults()
    _check_values(space, defaults, f"{where}: defaults")
    _check_point(space, list(space.default_unit), where)
    at_default = space.decode(space.default_unit)
    what = f"default_unit must decode to the defaults, {defaults}"
    require(at_default == defaults, where, what, at_default)
    draw = random.Random(0)
    for _ in range(POINTS):
        unit = [draw.random() for _ in space.parameters]
        _check_point(space, unit, where)
        _check_snap(space, {p.name: _raw(p, draw) for p in space.parameters}, where)
    for corner in (0.0, 1.0):
        _check_point(space, [corner] * space.dimension, where)


def _check_json(space: SearchSpace, where: str) -> None:
    carried = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    what = f"from_dict(to_dict()) must be the same, {space.name!r}"
    require(carried.name == space.name, where, what, repr(carried.name))
    for ours, theirs in zip(carried.parameters, space.parameters, strict=True):
        require(ours == theirs, where, f"from_dict(to_dict()) must have {theirs}", ours)


def _check_point(space: SearchSpace, unit: list[float], where: str) -> None:
    values = space.decode(unit)
    place = f"{where}: decode({[round(u, 4) for u in unit]})"
    _check_values(space, values, place)
    encoded = space.encode(values)
    inside = len(encoded) == space.dimension and all(0 <= u <= 1 for u in encoded)
    require(inside, place, "its values must be encoded in the unit cube", encoded)
    decoded = space.decode(encoded)
    require(decoded == values, place, f"its values must stay {values} when encoded", decoded)


def _check_snap(space: SearchSpace, raw: dict[str, Value], where: str) -> None:
    place = f"{where}: snap({raw})"
    values = space.snap(raw)
    _check_values(space, values, place)


def _check_values(space: SearchSpace, values: Mapping[str, Value], where: str) -> None:
    active: list[str] = []
    for parameter in space.parameters:
        if all(values.get(n) in allowed for n, allowed in parameter.active_when.items()):
            active.append(parameter.name)
    what = f"must have values of the active parameters {active} alone, in order"
    require(list(values) == active, where, what, list(values))
    for name, value in values.items():
        _check_native(value, f"{where}: {name}")
        require(space[name].contains(value), f"{where}: {name}", "must be legal", repr(value))
    snapped = space.snap(values)
    require(snapped == dict(values), where, f"legal values must stay {values} in snap", snapped)
    carried = json.loads(json.dumps(dict(values)))
    require(carried == dict(values), where, f"JSON must carry {values}", carried)


def _check_native(value: Any, where: str) -> None:
    what = "must be a number, a string or a boolean of Python's"
    require(type(value) in (bool, int, float, str), where, what, value)


def _raw(parameter: Parameter, draw: random.Random) -> Value:
    """Draw what `snap` takes, legal or between legal values."""
    if isinstance(parameter, ChoiceParameter):
        return draw.choice(parameter.choices)
    low, high = parameter.native_range
    if isinstance(low, int) and isinstance(high, int):
        return draw.randint(low, high)
    return draw.uniform(low, high)
