"""Whole-number parameters."""

import math
from dataclasses import dataclass
from typing import Literal

from . import checks
from .checks import Value, clip, require
from .ranges import RangeParameter


def nearest_power_of_two(number: float) -> int:
    """Return the power of two nearest to a number ≥ 1, on the log scale."""
    return int(2 ** round(math.log2(number)))


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


@dataclass(frozen=True)
class IntegerParameter(RangeParameter):
    """A whole number; a range in octaves is rounded to what is legal, at least 1.

    Attributes:
        powers_of_two: only powers of two are values, in equal bins of the unit interval.

    Others are those of `RangeParameter`.
    """

    low: int
    high: int
    default: int | Literal["auto"]
    powers_of_two: bool = False

    _kind = "a whole number"

    @property
    def _is_log(self) -> bool:
        return self.log or self.powers_of_two

    def _check_flags(self) -> None:
        powers = self.powers_of_two
        checks.check_flags(self.name, log=self.log, powers_of_two=powers, dynamic=self.dynamic)
        clash = self.log and powers
        require(not clash, self.name, "log must not go with powers_of_two", log=True)

    def _checked(self, key: str, value: float) -> float:
        what = f"{key} must be a whole number"
        require(checks.is_integer(value), self.name, what, **{key: value})
        return value

    def _check_range(self) -> None:
        super()._check_range()
        low, high = self.low, self.high
        legal = not self.powers_of_two or (_is_power_of_two(low) and _is_power_of_two(high))
        require(legal, self.name, "low and high must be powers of two", low=low, high=high)

    def _check_default(self, default: float | str) -> None:
        if isinstance(default, int) and checks.is_integer(default) and self.powers_of_two:
            power = _is_power_of_two(default)
            require(power, self.name, "default must be a power of two", default=default)
        super()._check_default(default)

    def _end(self, number: float) -> int:
        least = max(1.0, number)
        return nearest_power_of_two(least) if self.powers_of_two else round(least)

    def contains(self, value: Value) -> bool:
        """Return whether a native value is legal."""
        checks.check_resolved(self.name, self.octaves)
        if not isinstance(value, int) or not checks.is_integer(value):
            return False
        return self.low <= value <= self.high and (
            not self.powers_of_two or _is_power_of_two(value)
        )

    def snap(self, raw: Value) -> int:
        """Return the legal value nearest to a number (for powers of two, on the log scale)."""
        checks.check_resolved(self.name, self.octaves)
        number = clip(checks.checked_number(self.name, raw), self.low, self.high)
        return nearest_power_of_two(number) if self.powers_of_two else round(number)

    def from_unit(self, unit: float) -> int:
        """Return the native value at a place in [0, 1]."""
        first, last = self._scaled_range
        scaled = first + unit * (last - first)
        if self.log:
            return self.snap(math.exp(scaled))
        whole = math.floor(scaled)
        return self.snap(2.0**whole if self.powers_of_two else whole)

    def to_unit(self, value: Value) -> float:
        """Return the place of a native value in [0, 1]: the centre of its bin."""
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
