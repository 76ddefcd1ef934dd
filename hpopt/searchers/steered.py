"""A trial of the pool as a controller's host: what `range_test` decides is trained there."""

import math
from collections.abc import Callable, Mapping

from hpopt_envs.records import Outcome
from hpopt_envs.schedules import AGENT_SHAPE
from hpopt_envs.training.plan import WHOLE_BATCH
from hpopt_search_spaces import FloatParameter, Value

from ..controllers.protocol import Seen, Stretch
from ..controllers.range_test import GUARD, LAST_GUARD, STRETCHES, ramp_room, range_test
from ..pool.budget import full_run_cost, training_cost
from ..pool.metered import MeteredPool

Values = Mapping[str, Value]

STRETCHES_BEFORE = 10  # up to version 3 of the controls


class SteeredTrial:
    """A trial on the pool's first worker, which a controller steers.

    Points are judged by what probes say of the objective, see `RunFacts.probed`. Probes and the
    final validation included, the trial costs a full-run equivalent at most.

    Args:
        pool: where it runs.
        rate: the space's learning rate.
        observation: version of the controls that the study began with.
    """

    def __init__(self, pool: MeteredPool, rate: FloatParameter, observation: int) -> None:
        self._pool, self._rate = pool, rate
        self._last_guard = LAST_GUARD if observation >= 4 else GUARD
        self._stretches = STRETCHES if observation >= 4 else STRETCHES_BEFORE
        self._limit = full_run_cost(pool.facts, pool.space) - pool.facts.final_validation_cost
        self._trial = pool.start(0)
        self._ended = pool.collect()[1].outcome is not None

    def find(self, watch: Callable[[], None] = lambda: None) -> float:
        """Run the trial to its end, and return the learning rate that it found.

        That is the default where the trial failed, since nothing is known then. The decay is at the
        default batch: the auto rule has no term for its size, so the rate found at the smallest one
        stays.

        Args:
            watch: called after each level of the ramp.
        """
        default = self._configuration()
        small = self._configuration(**self._smallest_batch())
        decisions = range_test(
            self._rate,
            self._pool.facts.base_loss,
            ramp_room(self._pool.facts.trial_tokens, self._step_tokens(small)),
            last_guard=self._last_guard,
            stretches=self._stretches,
        )
        stretch = next(decisions)
        while True:
            objective = self._train(stretch, small if stretch.in_ramp else default)
            if stretch.in_ramp and not self._ended:
                watch()
            left = tuple(self._steps_left(default, probes) for probes in range(self._stretches))
            try:
                stretch = decisions.send(Seen(objective, self._ended, left))
            except StopIteration as end:
                failed = self._pool.history.trials[self._trial].outcome is Outcome.FAILED
                return self._rate.snap(self._rate.default if failed else end.value)

    def _configuration(self, **chosen: Value) -> dict[str, Value]:
        """Return the default configuration of agents that set the learning rate themselves.

        What the space has of a schedule's shape is at the legal value nearest to theirs.

        Args:
            chosen: in place of the space's defaults.
        """
        facts, space = self._pool.facts, self._pool.space
        values = space.snap({**space.nearest(AGENT_SHAPE), **chosen})
        return {**AGENT_SHAPE, **facts.fixed, **values}

    def _smallest_batch(self) -> dict[str, Value]:
        """Return the smallest batch of the space, where that may change inside a trial."""
        space = self._pool.space
        if "batch_size" in space and space["batch_size"].dynamic:
            return {"batch_size": space["batch_size"].from_unit(0.0)}
        return {}

    def _train(self, stretch: Stretch, values: Values) -> float:
        """Train a stretch, and return the probe's objective, see `Seen`."""
        if self._ended:
            return math.nan
        values = {**values, "learning_rate": stretch.rate}
        tokens = stretch.steps * self._step_tokens(values)
        probe, last = not stretch.last, stretch.last
        self._pool.train(
            0, values, roll_back=stretch.roll_back, tokens=tokens, probe=probe, last=last
        )
        _, reply = self._pool.collect()
        self._ended = reply.outcome is not None
        seen = None if reply.segment is None else self._pool.facts.probed(reply.segment)
        return math.nan if seen is None else seen

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
        return max(0, tokens // self._step_tokens(values))

    def _step_tokens(self, values: Values) -> int:
        """Return the task tokens of an optimizer step."""
        facts, batch = self._pool.facts, values["batch_size"]
        whole = batch == WHOLE_BATCH
        return facts.epoch_tokens if whole else int(batch) * facts.sequence_length
