"""Parameters that are one of several values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import checks
from .checks import Value, require


@dataclass(frozen=True)
class ChoiceParameter:
    """One of several values without an order, in equal bins of the unit interval.

    Attributes:
        name: an identifier.
        choices: at least two different ones, all of one type (int, float, bool or str).
        default: one of them.
        dynamic: may change during a trial.
        active_when: parents' names, and the values of each that switch this parameter on.

    Raises:
        SpaceError: one line, where these contradict each other.
    """

    name: str
    choices: tuple[Value, ...]
    default: Value
    dynamic: bool = False
    active_when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        name, choices = self.name, self.choices
        checks.check_flags(name, dynamic=self.dynamic)
        active_when = checks.checked_active_when(name, self.active_when)
        object.__setattr__(self, "active_when", active_when)
        listed = isinstance(choices, list | tuple) and len(choices) >= 2
        require(listed, name, "choices must be a list of at least two values", choices=choices)
        object.__setattr__(self, "choices", tuple(choices))
        plain = all(
            isinstance(choice, str | bool) or checks.is_number(choice) for choice in choices
        )
        what = "choices must be strings, numbers or booleans, all of one type"
        require(plain and len(set(map(type, choices))) == 1, name, what, choices=choices)
        require(len(set(choices)) == len(choices), name, "choices must differ", choices=choices)
        what = "default must be one of the choices"
        require(self.contains(self.default), name, what, default=self.default, choices=choices)

    @property
    def is_resolved(self) -> bool:
        """Always: a choice has no "auto"."""
        return True

    def contains(self, value: Value) -> bool:
        """Return whether it is one of the choices, of the same type (True is not 1)."""
        return type(value) is type(self.choices[0]) and value in self.choices

    def snap(self, raw: Value) -> Value:
        """Return the value itself.

        Raises:
            SpaceError: it isn't one of the choices.
        """
        require(self.contains(raw), self.name, f"must be one of {list(self.choices)}", value=raw)
        return raw

    def from_unit(self, unit: float) -> Value:
        """Return the choice at a place in [0, 1]."""
        return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]

    def to_unit(self, value: Value) -> float:
        """Return the centre of the choice's bin."""
        return (self.choices.index(self.snap(value)) + 0.5) / len(self.choices)

    @property
    def unit_step(self) -> float:
        """Size of one bin in the unit interval."""
        return 1 / len(self.choices)
