"""What parameters with a range have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from . import checks
from .checks import Value, require


@dataclass(frozen=True)
class RangeParameter(ABC):
    """A number in a range.

    Attributes:
        name: an identifier.
        low: least value; 0 while the range is given in octaves.
        high: greatest value; likewise.
        default: the value where nothing else is asked for; "auto" until the space is resolved.
        log: drawn on a log scale.
        octaves: (below, above): once the space is resolved, the range reaches from
            default·2^below to default·2^above.
        dynamic: may change during a trial.
        active_when: parents' names, and the values of each that switch this parameter on.

    Raises:
        SpaceError: one line, where these contradict each other.
    """

    name: str
    low: float
    high: float
    default: float | Literal["auto"]
    log: bool = False
    octaves: tuple[float, float] | None = field(default=None, kw_only=True)
    dynamic: bool = field(default=False, kw_only=True)
    active_when: Mapping[str, tuple[Value, ...]] = field(
        default_factory=dict, hash=False, kw_only=True
    )

    _kind = "a number"  # in words

    def __post_init__(self) -> None:
        self._check_flags()
        for key in ("low", "high"):
            self._set(key, self._checked(key, getattr(self, key)))
        self._set("active_when", checks.checked_active_when(self.name, self.active_when))
        if self.octaves is None:
            self._check_range()
        else:
            ends = (self.low, self.high)
            checked = checks.checked_octaves(self.name, self.octaves, *ends, self._is_log)
            self._set("octaves", checked)
        self._check_default(self.default)

    def _set(self, key: str, value: object) -> None:
        object.__setattr__(self, key, value)  # the class is frozen

    @property
    def _is_log(self) -> bool:
        return self.log

    @property
    def _where(self) -> str:
        """What a default must do between low and high, in words."""
        return "lie"

    @abstractmethod
    def _check_flags(self) -> None: ...

    @abstractmethod
    def _checked(self, key: str, value: float) -> float:
        """Return a value of this kind as it is kept, after a check that it is one."""

    def _check_range(self) -> None:
        checks.check_range(self.name, self.low, self.high, self._is_log)

    def _check_default(self, default: float | str) -> None:
        if isinstance(default, str):
            what = f"default must be {self._kind}"
            require(default == "auto", self.name, what, default=default)
            checks.check_auto(self.name)
            return
        kept = self._checked("default", default)
        if self.octaves is not None:
            what = "default must be above 0 beside octaves"
            require(default > 0, self.name, what, default=default)
            self._set("default", kept)
        else:
            what = f"default must {self._where} between low and high"
            legal = self.contains(default)
            require(legal, self.name, what, default=default, low=self.low, high=self.high)
            self._set("default", self.snap(default))

    @property
    def is_resolved(self) -> bool:
        """Whether default and range are numbers."""
        return self.octaves is None and self.default != "auto"

    def resolve(self, default: float) -> Self:
        """Return the same, with numbers for "auto" and octaves; a fixed range clips the default."""
        if self.octaves is None:
            return replace(self, default=self.snap(default))
        low, high = (self._end(default * 2**octave) for octave in self.octaves)
        return replace(self, low=low, high=high, default=default, octaves=None)

    def _end(self, number: float) -> float:
        """Return an end of the range in octaves, as it is legal."""
        return number

    @abstractmethod
    def contains(self, value: Value) -> bool:
        """Return whether a native value is legal."""

    @abstractmethod
    def snap(self, raw: Value) -> float:
        """Return the legal value nearest to a number."""
