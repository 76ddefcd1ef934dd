"""The search space: parameters in order, and the way between native values and the unit cube."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from . import checks
from .auto import TrainingFacts, auto_default
from .checks import Value, nearest_names, require
from .choices import ChoiceParameter
from .errors import SpaceError
from .parameters import (
    Parameter,
    check_value,
    parameter_from_table,
    parameter_to_table,
    resolved,
    with_default,
)


@dataclass(frozen=True)
class SearchSpace:
    """What may be tuned.

    Values are native ones: mappings from names to numbers, strings or booleans. Agents act in the
    unit cube, one coordinate a parameter, in order; `decode(encode(decode(u))) == decode(u)`.

    Attributes:
        name: of the space; a file's stem.
        parameters: in order; the parents in `active_when` come before their children.
        fixed: values of hyperparameters that aren't searched, which every trial has.

    Raises:
        SpaceError: a name that occurs twice, an `active_when` that nothing can meet, or a fixed
            value of a wrong type.
    """

    name: str
    parameters: tuple[Parameter, ...]
    fixed: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        require(len(self.parameters) > 0, self.name, "must have a parameter", parameters=[])
        checks.check_fixed(self.name, self.fixed)
        before: dict[str, Parameter] = {}
        for parameter in self.parameters:
            name = parameter.name
            require(name not in before, self.name, "names must differ", twice=name)
            for parent, allowed in parameter.active_when.items():
                what = "a parameter in active_when must be one that comes before"
                require(parent in before, name, what, parent=parent)
                for value in allowed if before[parent].is_resolved else ():
                    check_value(before[parent], value)
            before[parameter.name] = parameter
        for name in self.fixed:
            what = "must be fixed or a parameter, not both"
            require(name not in before, self.name, what, twice=name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the parameters, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def dimension(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Parameter:
        self._check_names([name])
        return self.parameters[self.names.index(name)]

    @property
    def is_resolved(self) -> bool:
        """Whether every default and range is in numbers."""
        return all(parameter.is_resolved for parameter in self.parameters)

    def resolve(self, facts: TrainingFacts) -> "SearchSpace":
        """Return the space with numbers for "auto" and octave ranges.

        Where the space says the optimizer, as a parameter's default or fixed, that counts, not that
        of `facts`.
        """
        facts = self._told(facts)
        return replace(self, parameters=tuple(resolved(p, facts) for p in self.parameters))

    def _told(self, facts: TrainingFacts) -> TrainingFacts:
        if "optimizer" in self:
            return replace(facts, optimizer=str(self["optimizer"].default))
        return replace(facts, optimizer=str(self.fixed.get("optimizer", facts.optimizer)))

    def clipped(self, facts: TrainingFacts) -> dict[str, float]:
        """Return what the rule says of defaults that are "auto", where a fixed range lacks it.

        The end of the range stands for these once the space is resolved.
        """
        facts = self._told(facts)
        return {
            parameter.name: rule
            for parameter in self.parameters
            if not isinstance(parameter, ChoiceParameter)
            and (parameter.default, parameter.octaves) == ("auto", None)
            and not parameter.low <= (rule := auto_default(parameter.name, facts)) <= parameter.high
        }

    def decode(self, unit: Sequence[float]) -> dict[str, Value]:
        """Return the values at a point of the unit cube, of the active parameters only.

        Raises:
            SpaceError: the point isn't in the unit cube, or the space isn't resolved.
        """
        self._check_resolved()
        point = [float(coordinate) for coordinate in unit]
        inside = len(point) == self.dimension and all(0 <= u <= 1 for u in point)
        require(inside, self.name, f"must be a point of [0, 1]^{self.dimension}", point=point)
        values: dict[str, Value] = {}
        for parameter, coordinate in zip(self.parameters, point, strict=True):
            if _is_active(parameter, values):
                values[parameter.name] = parameter.from_unit(coordinate)
        return values

    def encode(self, values: Mapping[str, Value]) -> tuple[float, ...]:
        """Return the point of the unit cube for values; missing or inactive ones get the default.

        Raises:
            SpaceError: an unknown name, an illegal value, or the space isn't resolved.
        """
        self.validate(values)
        active = self.snap(values)
        return tuple(p.to_unit(active.get(p.name, p.default)) for p in self.parameters)

    def snap(self, raw: Mapping[str, Value]) -> dict[str, Value]:
        """Return the nearest legal values of the active parameters; missing ones get the default.

        Args:
            raw: values drawn from each parameter's `native_range`, or its choices.

        Raises:
            SpaceError: an unknown name, a value of the wrong type, or the space isn't resolved.
        """
        self._check_resolved()
        self._check_names(raw)
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if _is_active(parameter, values):
                value = raw.get(parameter.name, parameter.default)
                values[parameter.name] = parameter.snap(value)
        return values

    def defaults(self) -> dict[str, Value]:
        """Return the default values of the active parameters."""
        return self.snap({})

    @cached_property
    def default_unit(self) -> tuple[float, ...]:
        """The point of the unit cube for the defaults."""
        return self.encode({})

    @cached_property
    def dynamic(self) -> tuple[bool, ...]:
        """Whether each parameter may change during a trial."""
        return tuple(parameter.dynamic for parameter in self.parameters)

    @cached_property
    def unit_steps(self) -> tuple[float, ...]:
        """Size of an octave, or a bin, of each parameter in the unit cube."""
        return tuple(parameter.unit_step for parameter in self.parameters)

    def validate(self, values: Mapping[str, Value]) -> None:
        """Check names and values; some may be missing.

        Raises:
            SpaceError: an unknown name (with the nearest ones), or an illegal value.
        """
        for name, value in values.items():
            check_value(self[name], value)

    def with_defaults(self, values: Mapping[str, Value]) -> "SearchSpace":
        """Return the space with other defaults; unresolved octaves go around the new ones.

        Raises:
            SpaceError: an unknown name, or a value that the range doesn't have.
        """
        changed = {name: with_default(self[name], value) for name, value in values.items()}
        return replace(self, parameters=tuple(changed.get(p.name, p) for p in self.parameters))

    def nearest(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return values that the space has, as near as it has them; what it hasn't is left out.

        Where a range in octaves isn't resolved yet, it goes wherever its default does.

        Raises:
            SpaceError: a value is of the wrong type.
        """
        found: dict[str, Value] = {}
        for name, value in values.items():
            if name not in self:
                continue
            parameter = self[name]
            if isinstance(parameter, ChoiceParameter):
                if parameter.contains(value):
                    found[name] = value
            elif parameter.octaves is not None:
                found[name] = value
            else:
                found[name] = parameter.snap(value)
        return found

    def holding(self, values: Mapping[str, Value]) -> "SearchSpace":
        """Return the space without parameters that are held at values.

        Conditions on them are settled: what they switch off goes too, with all that hangs on it.

        Args:
            values: by name, in place of those that the space has fixed; names that it doesn't have
                change nothing.

        Raises:
            SpaceError: no parameter is left.
        """
        left: list[Parameter] = []
        off: set[str] = set()
        for parameter in self.parameters:
            conditions = parameter.active_when
            if parameter.name in values:
                continue
            if any(
                parent in off or (parent in values and values[parent] not in allowed)
                for parent, allowed in conditions.items()
            ):
                off.add(parameter.name)
                continue
            open_ones = {parent: a for parent, a in conditions.items() if parent not in values}
            left.append(replace(parameter, active_when=open_ones))
        if not left:
            raise SpaceError(
                f"space {self.name!r} must have a parameter to search, but all are held: "
                f"{', '.join(self.names)}"
            )
        fixed = {name: value for name, value in self.fixed.items() if name not in values}
        return replace(self, parameters=tuple(left), fixed=fixed)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can carry and `from_dict` reads back exactly."""
        tables = [{"name": p.name} | parameter_to_table(p) for p in self.parameters]
        # Without a fixed value it is as it was before there were any, and so is the fingerprint.
        fixed = {"fixed": dict(self.fixed)} if self.fixed else {}
        return {"name": self.name, "parameters": tables, **fixed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchSpace":
        """Return the space that `to_dict` wrote.

        Raises:
            SpaceError: it isn't one.
        """
        try:
            tables = [dict(table) for table in data["parameters"]]
            named = [(str(table.pop("name")), table) for table in tables]
            name, fixed = str(data["name"]), data.get("fixed", {})
        except (KeyError, TypeError, ValueError) as error:
            raise SpaceError(
                f"a space must have a name and named parameters ({error!r})"
            ) from error
        return cls(name, tuple(parameter_from_table(key, table) for key, table in named), fixed)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the space in canonical JSON, in hexadecimal digits."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self:
                near = nearest_names(name, self.names)
                raise SpaceError(f"space {self.name!r} has no parameter {name!r} ({near})")

    def _check_resolved(self) -> None:
        waiting = [p.name for p in self.parameters if not p.is_resolved]
        if waiting:
            names = ", ".join(waiting)
            raise SpaceError(
                f"space {self.name!r} must be resolved first: {names} depends on the run"
            )


def _is_active(parameter: Parameter, values: Mapping[str, Value]) -> bool:
    return all(
        parent in values and values[parent] in allowed
        for parent, allowed in parameter.active_when.items()
    )
