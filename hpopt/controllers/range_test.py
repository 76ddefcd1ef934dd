"""A controller without learning: it finds the learning rate inside one run, and rolls back.

The learning rate rises geometrically while the objective on one fixed probe batch falls. When that
rises, the run goes back to its best point and on from there with the learning rate of that point
and linear decay, under guard: whenever the probe gets worse it goes back again, and on with a
third; it ends at its best point. No value leaves its range: a decay to nothing stays at its low
end.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass

from hpopt_search_spaces import FloatParameter

from ..policies.grid import RAMP_SHARE, RAMP_STEPS, RISE
from .protocol import Decisions, Seen, Stretch

GUARD = 0.02  # of the base model's loss: a probe so far above the best one undoes a stretch
LAST_GUARD = 0.002  # likewise, before its last stretch, so that a run ends at its best point
STRETCHES = 5  # of the decay, each with a constant rate; a probe costs as much as training does
FALL = 3.0  # what the rate is divided by after a rise in the decay
LARGEST_FACTOR = 4.0  # between two rates of a ramp


def ramp_room(run: int, step: int = 1) -> int:
    """Return the optimizer steps that a run's ramp may take.

    Args:
        run: its length, in optimizer steps or tokens.
        step: length of an optimizer step, likewise.
    """
    return int(RAMP_SHARE * run / step)


def doublings_of(rate: FloatParameter) -> int:
    """Return how many doublings a range has; the last one may be less than that."""
    # Ends of a range in octaves are rounded, which must not make a doubling more of it.
    return math.ceil(math.log2(rate.high / rate.low) - 1e-3)


def fewest_steps(rate: FloatParameter) -> int:
    """Return the optimizer steps of the shortest run whose ramp covers the whole range."""
    levels = math.ceil(doublings_of(rate) / math.log2(LARGEST_FACTOR)) + 1
    steps = math.ceil(levels / RAMP_SHARE)
    return steps if ramp_room(steps) >= levels else steps + 1


def plan_ramp(rate: FloatParameter, steps: int) -> list[tuple[float, int]]:
    """Return the learning rates of a ramp up to the range's end, each with its optimizer steps.

    Two steps a doubling where that fits, else one; else larger factors, up to four; where not
    even that covers the range, it starts nearer to the default, at most there.

    Args:
        rate: resolved.
        steps: that the ramp may take; at least one is taken.
    """
    doublings = doublings_of(rate)
    if steps >= RAMP_STEPS * (doublings + 1):
        return [(min(rate.high, rate.low * 2**k), RAMP_STEPS) for k in range(doublings + 1)]
    rises = min(max(0, steps - 1), doublings)
    factor = LARGEST_FACTOR
    if rises:
        factor = 2.0 if rises == doublings else (rate.high / rate.low) ** (1 / rises)
        factor = min(LARGEST_FACTOR, factor)
    start = min(float(rate.default), max(rate.low, rate.high / factor**rises))
    return [(min(rate.high, start * factor**k), 1) for k in range(rises + 1)]


@dataclass
class _Guard:
    """Compares probes with the best one.

    Attributes:
        base_loss: of the base model, that rises are shares of.
        best: the lowest objective so far.
        worse: whether the last probe was so bad that the run must go back to its best point.
    """

    base_loss: float
    best: float = math.inf
    worse: bool = False

    def rose(self, seen: float, share: float) -> bool:
        """Return whether a probe is worse than the best one by a share of the base loss."""
        self.worse = not seen < math.inf or seen > self.best + share * self.base_loss
        return self.worse

    def keep(self, seen: float) -> bool:
        """Take note of a probe; return whether none was better."""
        lowest = seen <= self.best
        self.best = min(self.best, seen)
        return lowest


def range_test(
    rate: FloatParameter,
    base_loss: float,
    ramp_steps: int,
    *,
    last_guard: float = LAST_GUARD,
    stretches: int = STRETCHES,
) -> Decisions:
    """Decide a run; see the module.

    Args:
        rate: the range, resolved; its default is where a short ramp starts at most.
        base_loss: of the base model in nats, that rises are shares of.
        ramp_steps: see `plan_ramp`.
        last_guard: share of it that the last probe may be worse than the best one.
        stretches: of the decay.
    """
    guard = _Guard(base_loss)
    peak, seen = yield from _ramp(rate, plan_ramp(rate, ramp_steps), guard)
    if seen.ended:
        return peak
    count = max(1, min(stretches, seen.steps_left[stretches - 1]))
    for k in range(count):
        left = count - k
        possible = seen.steps_left[left - 1]
        steps = max(1, possible // left)
        last = left == 1 or steps + 1 > possible
        falling = rate.snap(peak * (1 - (k + 0.5) / count))
        seen = yield Stretch(falling, steps, False, guard.worse, last)
        if seen.ended:
            return peak
        if guard.rose(seen.objective, last_guard if left == 2 else GUARD):
            peak /= FALL
        guard.keep(seen.objective)
    return peak


def _ramp(
    rate: FloatParameter, ramp: list[tuple[float, int]], guard: _Guard
) -> Generator[Stretch, Seen, tuple[float, Seen]]:
    """Raise the learning rate until the probe rises; return the rate to go on with."""
    peak = ramp[0][0] / FALL  # where not even the first one does
    for asked, steps in ramp:
        seen = yield Stretch(rate.snap(asked), steps, True, False, False)
        if seen.ended:
            return asked, seen
        if guard.rose(seen.objective, RISE):
            return peak, seen
        if guard.keep(seen.objective):
            peak = asked
    return asked, seen  # nothing rose: it goes on where it is
