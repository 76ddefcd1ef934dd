"""Whole-number parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from . import checks
from .checks import Value, clip, require


def nearest_power_of_two(number: float) -> int:
    """The power of two nearest to a number ≥ 1, on the log scale."""
    return int(2 ** round(math.log2(number)))


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


@dataclass(frozen=True)
class IntegerParameter:
    """A whole number.

    Attributes:
        name: an identifier.
        low: least value; 0 while the range is given in octaves.
        high: greatest value; likewise.
        default: the value where nothing else is asked for; "auto" until the space is resolved.
        log: drawn on a log scale.
        powers_of_two: only powers of two are values, in equal bins of the unit interval.
        octaves: (below, above): once the space is resolved, the range reaches from
            default·2^below to default·2^above, rounded to what is legal, at least 1.
        dynamic: may change during a trial.
        active_when: parents' names, and the values of each that switch this parameter on.

    Raises:
        SpaceError: one line, where these contradict each other.
    """

    name: str
    low: int
    high: int
    default: int | Literal["auto"]
    log: bool = False
    powers_of_two: bool = False
    octaves: tuple[float, float] | None = None
    dynamic: bool = False
    active_when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        name, low, high, powers = self.name, self.low, self.high, self.powers_of_two
        checks.check_flags(name, log=self.log, powers_of_two=powers, dynamic=self.dynamic)
        require(not (self.log and powers), name, "log must not go with powers_of_two", log=True)
        require(checks.is_integer(low), name, "low must be a whole number", low=low)
        require(checks.is_integer(high), name, "high must be a whole number", high=high)
        self._set("active_when", checks.checked_active_when(name, self.active_when))
        is_log = self.log or powers
        if self.octaves is None:
            checks.check_range(name, low, high, is_log)
            legal = not powers or (_is_power_of_two(low) and _is_power_of_two(high))
            require(legal, name, "low and high must be powers of two", low=low, high=high)
        else:
            self._set("octaves", checks.checked_octaves(name, self.octaves, low, high, is_log))
        self._check_default(self.default)

    def _set(self, key: str, value: object) -> None:
        object.__setattr__(self, key, value)  # the class is frozen

    def _check_default(self, default: int | str) -> None:
        what = "default must be a whole number"
        if isinstance(default, str):
            require(default == "auto", self.name, what, default=default)
            checks.check_auto(self.name)
            return
        require(checks.is_integer(default), self.name, what, default=default)
        power = not self.powers_of_two or _is_power_of_two(default)
        require(power, self.name, "default must be a power of two", default=default)
        if self.octaves is not None:
            what = "default must be above 0 beside octaves"
            require(default > 0, self.name, what, default=default)
        else:
            what = "default must lie between low and high"
            legal = self.contains(default)
            require(legal, self.name, what, default=default, low=self.low, high=self.high)

    @property
    def is_resolved(self) -> bool:
        """Whether default and range are numbers."""
        return self.octaves is None and self.default != "auto"

    def resolve(self, default: int) -> "IntegerParameter":
        """The same, with numbers for "auto" and octaves; a fixed range clips the default."""
        if self.octaves is None:
            return replace(self, default=self.snap(default))
        ends = (max(1.0, default * 2**octave) for octave in self.octaves)
        low, high = (nearest_power_of_two(e) if self.powers_of_two else round(e) for e in ends)
        return replace(self, low=low, high=high, default=default, octaves=None)

    def contains(self, value: Value) -> bool:
        """Whether a native value is legal."""
        checks.check_resolved(self.name, self.octaves)
        if not isinstance(value, int) or not checks.is_integer(value):
            return False
        return self.low <= value <= self.high and (
            not self.powers_of_two or _is_power_of_two(value)
        )

    def snap(self, raw: Value) -> int:
        """The legal value nearest to a number (for powers of two, on the log scale)."""
        checks.check_resolved(self.name, self.octaves)
        number = clip(checks.checked_number(self.name, raw), self.low, self.high)
        return nearest_power_of_two(number) if self.powers_of_two else round(number)

    def from_unit(self, unit: float) -> int:
        """The native value at a place in [0, 1]."""
        first, last = self._scaled_range
        scaled = first + unit * (last - first)
        if self.log:
            return self.snap(math.exp(scaled))
        whole = math.floor(scaled)
        return self.snap(2.0**whole if self.powers_of_two else whole)

    def to_unit(self, value: Value) -> float:
        """The place of a native value in [0, 1]: the centre of its bin."""
        number = self.snap(value)
        first, last = self._scaled_range
        if self.log:
            scaled = math.log(number)
        else:
            scaled = 0.5 + (math.log2(number) if self.powers_of_two else number)
        return (scaled - first) / (last - first)

    @property
    def native_range(self) -> tuple[int, int]:
        """What a sampler draws native values from, (low, high), before `snap`."""
        checks.check_resolved(self.name, self.octaves)
        return (self.low, self.high)

    @property
    def unit_step(self) -> float:
        """Size of one octave in the unit interval; off the log scale, of a bin or an eighth."""
        first, last = self._scaled_range
        if self.log:
            return min(1.0, math.log(2) / (last - first))
        return 1 / (last - first) if self.powers_of_two else 1 / min(last - first, 8)

    @property
    def _scaled_range(self) -> tuple[float, float]:
        """What the unit interval maps to: bins of size 1, on a log scale around each integer."""
        low, high = self.native_range
        if self.log:
            return (math.log(low - 0.5), math.log(high + 0.5))
        if self.powers_of_two:
            return (math.log2(low), math.log2(high) + 1)
        return (low, high + 1)
