"""A controller without learning: it finds the learning rate inside one trial, and rolls back.

In the first trial the learning rate rises geometrically while the objective on one fixed probe
batch falls. When that rises, the trial goes back to its best point and on from there with the
learning rate of that point and linear decay, under guard: whenever the probe gets worse it goes
back again, and on with a third; it ends at its best point. The second trial holds the rate found,
the third a third of it, unless the range ends at the rate found; later ones are TPE's on the whole
space with the rate narrowed. No value leaves its range: a decay to nothing stays at its low end.
`docs/results.md` has what it is worth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from hpopt_search_spaces import FloatParameter, SearchSpace

from ..policies.grid import RAMP_SHARE, RAMP_STEPS, RISE
from ..pool.metered import MeteredPool
from .base import SearchPlan
from .driver import drive
from .optuna_proposer import OptunaProposer
from .steered import FALL, SteeredTrial

LARGEST_FACTOR = 4.0  # between two rates of a ramp
NARROWED = (1 / 8, 4.0)  # range of later trials' learning rates around the one found


def build(plan: SearchPlan) -> "RangeTestSearcher":
    """See `AgentSpec.build`."""
    return RangeTestSearcher(plan)


@dataclass(frozen=True)
class RangeTestSearcher:
    """See the module. Workers but the first have nothing to do during the first trial."""

    plan: SearchPlan

    def search(self, pool: MeteredPool) -> None:
        rate = pool.space["learning_rate"]
        assert isinstance(rate, FloatParameter)  # see `check_space`
        if not pool.can_start():
            return
        found = find(SteeredTrial(pool, rate, self.plan.observation), pool, rate)
        narrowed = _narrowed(pool.space, rate, found)
        held = narrowed.defaults()
        third = held | {"learning_rate": rate.snap(found / FALL)}
        first = [held] if third == held else [held, third]  # never one configuration twice
        plan = replace(self.plan, agent="tpe", trials=max(1, self.plan.trials - 1))
        drive(OptunaProposer(narrowed, plan, pool.facts, first=first), pool)


def _narrowed(space: SearchSpace, rate: FloatParameter, found: float) -> SearchSpace:
    """Return the space around the rate found, which becomes the default."""
    low, high = max(rate.low, found * NARROWED[0]), min(rate.high, found * NARROWED[1])
    around = replace(rate, low=low, high=high, default=found)
    others = (around if p.name == rate.name else p for p in space.parameters)
    return SearchSpace(space.name, tuple(others))


def plan_ramp(rate: FloatParameter, steps: int) -> list[tuple[float, int]]:
    """Return the learning rates of a ramp up to the range's end, each with its optimizer steps.

    Two steps a doubling where that fits, else one; else larger factors, up to four; where not
    even that covers the range, it starts nearer to the default, at most there.

    Args:
        rate: resolved.
        steps: that the ramp may take; at least one is taken.
    """
    # Ends of a range in octaves are rounded, which must not make a doubling more of it.
    doublings = math.ceil(math.log2(rate.high / rate.low) - 1e-3)
    if steps >= RAMP_STEPS * (doublings + 1):
        return [(min(rate.high, rate.low * 2**k), RAMP_STEPS) for k in range(doublings + 1)]
    rises = min(max(0, steps - 1), doublings)
    factor = LARGEST_FACTOR
    if rises:
        factor = 2.0 if rises == doublings else (rate.high / rate.low) ** (1 / rises)
        factor = min(LARGEST_FACTOR, factor)
    start = min(float(rate.default), max(rate.low, rate.high / factor**rises))
    return [(min(rate.high, start * factor**k), 1) for k in range(rises + 1)]


def find(
    trial: SteeredTrial,
    pool: MeteredPool,
    rate: FloatParameter,
    watch: Callable[[], None] = lambda: None,
) -> float:
    """Run a trial to its end, and return the learning rate that it found.

    That is the default where the trial failed, since nothing is known then. The decay is at the
    default batch: the auto rule has no term for its size, so the rate found at the smallest one
    stays.

    Args:
        trial: that has just begun.
        pool: where it runs.
        rate: the space's learning rate.
        watch: called after each level of the ramp.
    """
    peak = _ramp(trial, pool, rate, watch)
    found = trial.decay(trial.configuration(), peak)
    return rate.snap(rate.default if trial.failed else found)


def _ramp(
    trial: SteeredTrial, pool: MeteredPool, rate: FloatParameter, watch: Callable[[], None]
) -> float:
    """Raise the learning rate until the probe rises; return the rate to go on with."""
    values = trial.configuration(**trial.smallest_batch())
    share = int(RAMP_SHARE * pool.facts.trial_tokens / trial.step_tokens(values))
    ramp = plan_ramp(rate, share)
    peak = ramp[0][0] / FALL  # where not even the first one does
    for asked, steps in ramp:
        trial.train({**values, "learning_rate": asked}, steps)
        if trial.ended:
            return asked
        watch()
        if trial.rose(RISE):
            return peak
        if trial.keep():
            peak = asked
    return ramp[-1][0]  # nothing rose: it goes on where it is
