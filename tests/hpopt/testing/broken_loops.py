"""Searchers that own their loop, and break one promise each."""

from hpopt import SearchPlan
from hpopt.pool.metered import MeteredPool


class Looping:
    """A searcher that owns its loop, which holds the default in every trial."""

    def __init__(self, plan: SearchPlan) -> None:
        self.plan = plan

    def search(self, pool: MeteredPool) -> None:
        while pool.can_start():
            self.trial(pool, pool.start(0))

    def trial(self, pool: MeteredPool, trial: int) -> None:
        while pool.collect()[1].outcome is None:
            pool.hold(0, pool.space.defaults())


class NeverAsks(Looping):
    def search(self, pool: MeteredPool) -> None:
        for _ in range(self.plan.trials):
            self.trial(pool, pool.start(0))


class AsksOnce(Looping):
    def search(self, pool: MeteredPool) -> None:
        if pool.can_start():
            while True:
                self.trial(pool, pool.start(0))


class Stubborn(Looping):
    """Starts after a refusal."""

    def search(self, pool: MeteredPool) -> None:
        super().search(pool)
        self.trial(pool, pool.start(0))


class Endless(Looping):
    def search(self, pool: MeteredPool) -> None:
        while True:
            super().search(pool)


class LeavesATrial(Looping):
    def search(self, pool: MeteredPool) -> None:
        if pool.can_start():
            pool.start(0)
            pool.collect()


class AsksTwice(Looping):
    def trial(self, pool: MeteredPool, trial: int) -> None:
        pool.hold(0, pool.space.defaults())


class StartsTwice(Looping):
    def trial(self, pool: MeteredPool, trial: int) -> None:
        pool.collect()
        if pool.can_start():
            pool.start(0)


class NoTrial(Looping):
    def search(self, pool: MeteredPool) -> None:
        pool.hold(0, pool.space.defaults())


class WaitsForNothing(Looping):
    def search(self, pool: MeteredPool) -> None:
        super().search(pool)
        pool.collect()


class OtherWorker(Looping):
    def search(self, pool: MeteredPool) -> None:
        if pool.can_start():
            pool.start(pool.size)


class Spends(Looping):
    """Trains far past the horizon."""

    def trial(self, pool: MeteredPool, trial: int) -> None:
        values = {**pool.space.defaults(), "schedule_shape": "constant", "warmup_fraction": 0.0}
        while pool.collect()[1].outcome is None:
            pool.train(0, values, tokens=3 * pool.facts.trial_tokens)


class Forges(Looping):
    """Changes the pool's history."""

    def search(self, pool: MeteredPool) -> None:
        super().search(pool)
        del pool.history.trials[0]


class HoldsIllegal(Looping):
    def trial(self, pool: MeteredPool, trial: int) -> None:
        while pool.collect()[1].outcome is None:
            pool.hold(0, {**pool.space.defaults(), "batch_size": 3})


class LooksAhead(Looping):
    """Decides by the budget of now, which an extension changes."""

    def trial(self, pool: MeteredPool, trial: int) -> None:
        rate = 1e-3 if (pool.budget.limits.trials or 0) > self.plan.trials else 2e-3
        while pool.collect()[1].outcome is None:
            pool.hold(0, {**pool.space.defaults(), "learning_rate": rate})


class KnowsItsPast(Looping):
    """Decides by whether the study was begun before."""

    def trial(self, pool: MeteredPool, trial: int) -> None:
        rate = 1e-3 if len(pool._journal.events) > 1 else 2e-3
        while pool.collect()[1].outcome is None:
            pool.hold(0, {**pool.space.defaults(), "learning_rate": rate})
