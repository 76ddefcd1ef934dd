"""A controller without learning: it finds the learning rate inside one trial, and rolls back.

In the first trial the learning rate rises geometrically while the loss on one fixed probe batch
falls. When that rises, the trial goes back to its best point and on from there with the learning
rate of that point and linear decay, under guard: whenever the probe loss gets worse it goes back
again, and on with a third. The second trial holds the rate found, the third a third of it, unless
the range ends at the rate found; later ones are TPE's on the whole space with the rate narrowed.
No value leaves its range: a decay to nothing stays at its low end. `docs/results.md` has what it is
worth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hpopt_envs.records import Outcome
from hpopt_envs.schedules import AGENT_SHAPE
from hpopt_envs.training.plan import WHOLE_BATCH
from hpopt_search_spaces import FloatParameter, SearchSpace, Value

from ..pool.budget import full_run_cost
from ..pool.metered import MeteredPool
from .base import SearchPlan
from .driver import drive
from .optuna_proposer import OptunaProposer

RAMP_SHARE = 0.3  # of the trial's tokens, at most
STEPS_A_DOUBLING = 2
LARGEST_FACTOR = 4.0  # between two rates of a ramp
RISE = 0.03  # of the base model's loss: a probe loss so far above the best one ends the ramp
GUARD = 0.02  # likewise, of the decay
STRETCHES = 10  # of the decay; the learning rate of each is constant
FALL = 3.0  # what the rate is divided by after a rise in the decay
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
        found = _Controller(pool, rate).run()
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
    if steps >= STEPS_A_DOUBLING * (doublings + 1):
        return [(min(rate.high, rate.low * 2**k), STEPS_A_DOUBLING) for k in range(doublings + 1)]
    rises = min(max(0, steps - 1), doublings)
    factor = LARGEST_FACTOR
    if rises:
        factor = 2.0 if rises == doublings else (rate.high / rate.low) ** (1 / rises)
        factor = min(LARGEST_FACTOR, factor)
    start = min(float(rate.default), max(rate.low, rate.high / factor**rises))
    return [(min(rate.high, start * factor**k), 1) for k in range(rises + 1)]


class _Controller:
    """The first trial, on the pool's first worker, which keeps the best probed point.

    Args:
        pool: where it runs.
        rate: the space's learning rate.
    """

    def __init__(self, pool: MeteredPool, rate: FloatParameter) -> None:
        facts, space = pool.facts, pool.space
        self._pool = pool
        self._rate = rate
        self._values = self._configuration()
        self._token_cost = facts.token_cost
        if self._values.get("divergence_weight", 0.0):
            self._token_cost += facts.penalty_cost
        # Probes and the final validation included, the trial costs a full-run equivalent.
        self._limit = full_run_cost(facts, space) - facts.final_validation_cost
        self._best = math.inf  # probe loss
        self._worse = False  # the next segment begins with a roll-back
        self._trial = pool.start(0)
        self._ended = pool.collect()[1].outcome is not None

    def run(self) -> float:
        """Run the trial to its end, and return the learning rate that it found.

        That is the default where the trial failed, since nothing is known then.
        """
        found = self._decay(self._ramp())
        failed = self._pool.history.trials[self._trial].outcome is Outcome.FAILED
        return self._rate.snap(self._rate.default if failed else found)

    def _configuration(self, **chosen: Value) -> dict[str, Value]:
        """Return the default configuration of agents that set the learning rate themselves.

        What the space has of a schedule's shape is at the legal value nearest to theirs.

        Args:
            chosen: in place of the space's defaults.
        """
        facts, space = self._pool.facts, self._pool.space
        values = space.snap({**space.nearest(AGENT_SHAPE), **chosen})
        return {**AGENT_SHAPE, **facts.fixed, **values}

    def _ramp(self) -> float:
        """Raise the learning rate until the probe loss rises; return the rate to go on with."""
        values, space = self._values, self._pool.space
        if "batch_size" in space and space["batch_size"].dynamic:
            values = self._configuration(batch_size=space["batch_size"].from_unit(0.0))
        share = int(RAMP_SHARE * self._pool.facts.trial_tokens / self._step_tokens(values))
        ramp = plan_ramp(self._rate, share)
        peak = ramp[0][0] / FALL  # where not even the first one does
        for rate, steps in ramp:
            loss = self._train({**values, "learning_rate": rate}, steps)
            if self._ended:
                return rate
            if self._rose(loss, RISE):
                return peak
            if loss <= self._best:
                peak = rate
            self._best = min(self._best, loss)
        return ramp[-1][0]  # nothing rose: it goes on where it is

    def _decay(self, peak: float) -> float:
        """Train on with linear decay, at the default batch; return the rate that held.

        The auto rule has no term for the batch size, so the rate found at the smallest one stays.
        """
        stretches = max(1, min(STRETCHES, self._steps_left(probes=STRETCHES - 1)))
        for k in range(stretches):
            left = stretches - k
            possible = self._steps_left(probes=left - 1)
            steps = max(1, possible // left)
            last = left == 1 or steps + 1 > possible
            rate = peak * (1 - (k + 0.5) / stretches)
            loss = self._train({**self._values, "learning_rate": rate}, steps, last=last)
            if self._ended:
                return peak
            if self._rose(loss, GUARD):
                peak /= FALL
            self._best = min(self._best, loss)
        return peak

    def _train(self, values: Mapping[str, Value], steps: int, last: bool = False) -> float:
        """Train some optimizer steps and return the probe loss, which the last ones don't need."""
        if self._ended:
            return math.nan
        values = {**values, "learning_rate": self._rate.snap(values["learning_rate"])}
        tokens = steps * self._step_tokens(values)
        how = {"tokens": tokens, "probe": not last, "roll_back": self._worse, "last": last}
        self._pool.train(0, values, **how)
        self._worse = False
        _, reply = self._pool.collect()
        self._ended = reply.outcome is not None
        if reply.segment is None or reply.segment.probe_loss is None:
            return math.nan
        return reply.segment.probe_loss

    def _rose(self, loss: float, share: float) -> bool:
        """Return whether a probe loss is so bad that the trial must go back to its best point."""
        rise = share * self._pool.facts.base_loss
        self._worse = not loss < math.inf or loss > self._best + rise
        return self._worse

    def _steps_left(self, probes: int) -> int:
        """Return the optimizer steps that the trial can still take with some probes at its cost."""
        facts, trial = self._pool.facts, self._pool.history.trials[self._trial]
        probed = trial.segments[-1] if trial.segments else None
        probe_cost = 0.0 if probed is None else probed.cost - probed.tokens * self._token_cost
        affordable = (self._limit - trial.cost - probes * probe_cost) / self._token_cost
        tokens = min(affordable, facts.trial_tokens - trial.trained_tokens)
        return max(0, int(tokens / self._step_tokens(self._values)))

    def _step_tokens(self, values: Mapping[str, Value]) -> int:
        facts, batch = self._pool.facts, values["batch_size"]
        whole = batch == WHOLE_BATCH
        return facts.epoch_tokens if whole else int(batch) * facts.sequence_length
