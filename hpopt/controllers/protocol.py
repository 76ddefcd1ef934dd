"""What a controller asks of its host, and what it is told.

Decisions follow from what was seen alone, so that resume is replay here too: a generator that is
built again and sent the same asks for the same.
"""

from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True)
class Stretch:
    """Training that a host is asked for.

    Attributes:
        rate: learning rate, inside its range.
        steps: optimizer steps, at least one.
        in_ramp: whether it belongs to a ramp, where a host may train with smaller batches.
        roll_back: go back to the best point first, else to the base weights.
        last: nothing follows it, so that no probe is needed.
    """

    rate: float
    steps: int
    in_ramp: bool
    roll_back: bool
    last: bool


@dataclass(frozen=True)
class Seen:
    """What came of a stretch.

    Attributes:
        objective: of the probe, in nats, less is better; infinite where training exploded, NaN
            where nothing was probed.
        ended: whether the run has.
        steps_left: optimizer steps that are still possible outside of a ramp if k more probes are
            made, at index k.
    """

    objective: float
    ended: bool
    steps_left: tuple[int, ...]


Decisions = Generator[Stretch, Seen, float]
"""Returns the learning rate that it found."""
