"""A trial that is steered: stretches of training, each probed, under guard of its best point."""

import math
from collections.abc import Mapping

from hpopt_envs.records import Outcome
from hpopt_envs.schedules import AGENT_SHAPE
from hpopt_envs.training.plan import WHOLE_BATCH
from hpopt_search_spaces import FloatParameter, Value

from ..pool.budget import full_run_cost, training_cost
from ..pool.metered import MeteredPool

Values = Mapping[str, Value]

GUARD = 0.02  # of the base model's loss: a probe so far above the best one undoes a stretch
LAST_GUARD = 0.002  # likewise, before its last stretch, so that a trial ends at its best point
STRETCHES = 5  # of the decay, each with a constant rate; a probe costs as much as training does
STRETCHES_BEFORE = 10  # up to version 3 of the controls
FALL = 3.0  # what the rate is divided by after a rise in the decay


class SteeredTrial:
    """A trial on the pool's first worker, which keeps the best probed point.

    Points are judged by what probes say of the objective, see `RunFacts.probed`. Probes and the
    final validation included, the trial costs a full-run equivalent at most.

    Args:
        pool: where it runs.
        rate: the space's learning rate.
        observation: version of the controls that the study began with.

    Attributes:
        ended: whether it has.
        seen: what the last probe said; infinite where training exploded, NaN where there was none.
        best: the lowest of these so far.
    """

    def __init__(self, pool: MeteredPool, rate: FloatParameter, observation: int) -> None:
        self._pool, self._rate = pool, rate
        self._last_guard = LAST_GUARD if observation >= 4 else GUARD
        self._stretches = STRETCHES if observation >= 4 else STRETCHES_BEFORE
        self._limit = full_run_cost(pool.facts, pool.space) - pool.facts.final_validation_cost
        self._worse = False  # the next stretch begins with a roll-back
        self.seen, self.best = math.nan, math.inf
        self._trial = pool.start(0)
        self.ended = pool.collect()[1].outcome is not None

    @property
    def failed(self) -> bool:
        return self._pool.history.trials[self._trial].outcome is Outcome.FAILED

    def configuration(self, **chosen: Value) -> dict[str, Value]:
        """Return the default configuration of agents that set the learning rate themselves.

        What the space has of a schedule's shape is at the legal value nearest to theirs.

        Args:
            chosen: in place of the space's defaults.
        """
        facts, space = self._pool.facts, self._pool.space
        values = space.snap({**space.nearest(AGENT_SHAPE), **chosen})
        return {**AGENT_SHAPE, **facts.fixed, **values}

    def smallest_batch(self) -> dict[str, Value]:
        """Return the smallest batch of the space, where that may change inside a trial."""
        space = self._pool.space
        if "batch_size" in space and space["batch_size"].dynamic:
            return {"batch_size": space["batch_size"].from_unit(0.0)}
        return {}

    def train(self, values: Values, steps: int, last: bool = False) -> None:
        """Train some optimizer steps, and probe, which the last ones don't need."""
        self.seen = math.nan
        if self.ended:
            return
        values = {**values, "learning_rate": self._rate.snap(values["learning_rate"])}
        how = {"tokens": steps * self.step_tokens(values), "probe": not last, "last": last}
        self._pool.train(0, values, roll_back=self._worse, **how)
        self._worse = False
        _, reply = self._pool.collect()
        self.ended = reply.outcome is not None
        seen = None if reply.segment is None else self._pool.facts.probed(reply.segment)
        self.seen = math.nan if seen is None else seen

    def rose(self, share: float) -> bool:
        """Return whether the last probe is so bad that the trial must go back to its best point.

        Args:
            share: of the base model's loss, that a probe may be worse than the best one.
        """
        rise = share * self._pool.facts.base_loss
        self._worse = not self.seen < math.inf or self.seen > self.best + rise
        return self._worse

    def keep(self) -> bool:
        """Take note of the last probe; return whether none was better."""
        lowest = self.seen <= self.best
        self.best = min(self.best, self.seen)
        return lowest

    def decay(self, values: Values, peak: float) -> float:
        """Train to the end with linear decay; return the rate that held.

        Args:
            values: all others.
            peak: learning rate that the decay begins near.
        """
        most = self._stretches
        count = max(1, min(most, self._steps_left(values, probes=most - 1)))
        for k in range(count):
            left = count - k
            possible = self._steps_left(values, probes=left - 1)
            steps = max(1, possible // left)
            last = left == 1 or steps + 1 > possible
            self.train({**values, "learning_rate": peak * (1 - (k + 0.5) / count)}, steps, last)
            if self.ended:
                return peak
            if self.rose(self._last_guard if left == 2 else GUARD):
                peak /= FALL
            self.keep()
        return peak

    def _steps_left(self, values: Values, probes: int) -> int:
        """Return the optimizer steps that the trial can still take with some probes at its cost."""
        facts, trial = self._pool.facts, self._pool.history.trials[self._trial]
        probe_cost = 0.0
        if trial.segments:
            probed = trial.segments[-1]
            probe_cost = probed.cost - training_cost(facts, probed.hyperparameters, probed.tokens)
        affordable = self._limit - trial.cost - probes * probe_cost
        tokens = facts.trial_tokens - trial.trained_tokens
        tokens = min(tokens, int(affordable / training_cost(facts, values, 1)))
        return max(0, tokens // self.step_tokens(values))

    def step_tokens(self, values: Values) -> int:
        """Return the task tokens of an optimizer step."""
        facts, batch = self._pool.facts, values["batch_size"]
        whole = batch == WHOLE_BATCH
        return facts.epoch_tokens if whole else int(batch) * facts.sequence_length
