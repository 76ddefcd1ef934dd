"""Real-valued parameters."""

import math
from dataclasses import dataclass, replace

from . import checks
from .checks import Value, clip, require
from .ranges import RangeParameter

NOTCH = 0.1
"""Share of the unit interval, at its low end, that means exactly 0 where `zero` is set."""
ROUNDING = 1e-9  # an action in [−1, 1] may come back from it a hair below the notch's end


def round_significant(value: float) -> float:
    """Round to six significant digits; never −0.0."""
    return float(f"{value:.6g}") + 0.0


@dataclass(frozen=True)
class FloatParameter(RangeParameter):
    """A real number, kept at six significant digits.

    Attributes:
        zero: exactly 0 is a value too, a notch of the log scale just below `low`: the lowest tenth
            of the unit interval.

    Others are those of `RangeParameter`.
    """

    zero: bool = False

    def _check_flags(self) -> None:
        checks.check_flags(self.name, log=self.log, zero=self.zero, dynamic=self.dynamic)
        require(self.log or not self.zero, self.name, "zero must go with log", zero=True, log=False)

    def _checked(self, key: str, value: float) -> float:
        require(checks.is_number(value), self.name, f"{key} must be a number", **{key: value})
        return round_significant(value)

    @property
    def _where(self) -> str:
        return "be 0 or lie" if self.zero else "lie"

    def displaced(self, octaves: float) -> "FloatParameter":
        """Return the same, resolved, with default and range 2^octaves times as large."""
        checks.check_resolved(self.name, self.octaves)
        factor, default = 2.0**octaves, checks.checked_number(self.name, self.default)
        return replace(
            self, low=factor * self.low, high=factor * self.high, default=factor * default
        )

    def contains(self, value: Value) -> bool:
        """Return whether a native value, at six significant digits, is in the range."""
        checks.check_resolved(self.name, self.octaves)
        if isinstance(value, str) or not checks.is_number(value):
            return False
        return (self.zero and value == 0) or self.low <= round_significant(value) <= self.high

    def snap(self, raw: Value) -> float:
        """Return the legal value nearest to a number; below `low` it is 0 where `zero` is set."""
        number = checks.checked_number(self.name, raw)
        first, last = self._scaled_range
        if self.zero and number < self.low:
            return 0.0
        if not self.log and first <= 0 <= last and abs(number) < 1e-8 * (last - first):
            return 0.0  # beside 0, six digits don't survive the way through the unit interval
        return round_significant(clip(number, self.low, self.high))

    def from_unit(self, unit: float) -> float:
        """Return the native value at a place in [0, 1]."""
        if self.zero and unit < NOTCH - ROUNDING:
            return 0.0
        first, last = self._scaled_range
        place = (unit - NOTCH) / (1 - NOTCH) if self.zero else unit
        scaled = first + place * (last - first)
        return self.snap(clip(math.exp(scaled) if self.log else scaled, self.low, self.high))

    def to_unit(self, value: Value) -> float:
        """Return the place of a native value in [0, 1]; of the 0 in a notch, the notch's middle."""
        number = self.snap(value)
        if self.zero and number == 0:
            return NOTCH / 2
        first, last = self._scaled_range
        place = ((math.log(number) if self.log else number) - first) / (last - first)
        return clip(NOTCH + (1 - NOTCH) * place if self.zero else place, 0.0, 1.0)

    @property
    def native_range(self) -> tuple[float, float]:
        """What a sampler draws native values from, (low, high), before `snap`.

        With `zero` it reaches below `low`, so that the notch is a tenth of it on the log scale.
        """
        first, last = self._scaled_range
        if not self.zero:
            return (self.low, self.high)
        return (math.exp(last - (last - first) / (1 - NOTCH)), self.high)

    @property
    def unit_step(self) -> float:
        """Size of one octave in the unit interval; off the log scale, an eighth."""
        first, last = self._scaled_range
        octave = (1 - NOTCH if self.zero else 1) * math.log(2) / (last - first)
        return min(1.0, octave) if self.log else 1 / 8

    @property
    def _scaled_range(self) -> tuple[float, float]:
        checks.check_resolved(self.name, self.octaves)
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
