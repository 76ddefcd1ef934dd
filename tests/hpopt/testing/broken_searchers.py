"""Searchers that break one promise each, over configurations that are drawn by the seed."""

import itertools
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from hpopt import AgentSpec, Proposal, SearchPlan
from hpopt.pool.metered import MeteredPool
from hpopt.searchers.driver import ProposerSearcher, drive
from hpopt_envs import RunFacts, Segment, Trial
from hpopt_search_spaces import SearchSpace, Value

_everywhere = itertools.count()


class Fine:
    """Independent random configurations, keyed by the plan's seed."""

    def __init__(self, plan: SearchPlan, space: SearchSpace, facts: RunFacts) -> None:
        self.plan, self.space, self.facts = plan, space, facts
        self.asked = 0

    def draw(self) -> random.Random:
        return random.Random(f"{self.plan.seed} {self.asked}")

    def values(self) -> Mapping[str, Value]:
        draw = self.draw()
        return self.space.decode([draw.random() for _ in self.space.parameters])

    def ask(self) -> Proposal | None:
        values = self.values()
        self.asked += 1
        return Proposal(self.asked - 1, values)

    def report(self, proposal: Proposal, segment: Segment) -> bool:
        return False

    def tell(self, proposal: Proposal, trial: Trial) -> None:
        pass


class Deterministic(Fine):
    """A list of configurations; asks for no seed, so that none needs to differ."""

    def draw(self) -> random.Random:
        return random.Random(self.asked)


class RunsOut(Fine):
    def ask(self) -> Proposal | None:
        return super().ask() if self.asked < 3 else None


class SeedIgnored(Fine):
    """Reads the seed, and decides without it."""

    def draw(self) -> random.Random:
        return random.Random(self.asked if self.plan.seed >= 0 else 0)


class DrawsFromRandom(Fine):
    def draw(self) -> random.Random:
        return random.Random(random.random())


class DrawsFromNumpy(Fine):
    def draw(self) -> random.Random:
        return random.Random(float(np.random.rand()))


class SeedsTorch(Fine):
    def draw(self) -> random.Random:
        torch.manual_seed(self.plan.seed)
        return super().draw()


class ProcessWide(Fine):
    """Counts in the module, so that another process begins anew."""

    def draw(self) -> random.Random:
        return random.Random(f"{self.plan.seed} {next(_everywhere)}")


class SeesTheClock(Fine):
    """Decides by what differs between a run and its replay: how long segments took."""

    seconds = 0.0

    def tell(self, proposal: Proposal, trial: Trial) -> None:
        self.seconds += sum(s.wall_seconds for s in trial.segments)

    def draw(self) -> random.Random:
        return random.Random(f"{self.plan.seed} {self.seconds}")


class WrongNumber(Fine):
    def ask(self) -> Proposal | None:
        proposal = super().ask()
        assert proposal is not None
        return Proposal(proposal.number + 1, proposal.values)


class NoProposal(Fine):
    def ask(self) -> Any:
        return dict(self.values())


class Illegal(Fine):
    def values(self) -> Mapping[str, Value]:
        return {**super().values(), "learning_rate": 100.0}


class Alien(Fine):
    def values(self) -> Mapping[str, Value]:
        return {**super().values(), "momentum": 0.9}


class Partial(Fine):
    def values(self) -> Mapping[str, Value]:
        return {"learning_rate": super().values()["learning_rate"]}


class FromNumpy(Fine):
    def values(self) -> Mapping[str, Value]:
        values = super().values()
        return {**values, "learning_rate": np.float64(values["learning_rate"])}


class NoAnswer(Fine):
    spec = AgentSpec(validates=True)

    def report(self, proposal: Proposal, segment: Segment) -> Any:
        return None


class Raises(Fine):
    def tell(self, proposal: Proposal, trial: Trial) -> None:
        raise ValueError("no such trial")


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


class Twice:
    def __init__(self, proposer: Any) -> None:
        self.ask, self.report, self.proposer = proposer.ask, proposer.report, proposer

    def tell(self, proposal: Proposal, trial: Trial) -> None:
        self.proposer.tell(proposal, trial)
        self.proposer.tell(proposal, trial)


class Untold(Twice):
    def tell(self, proposal: Proposal, trial: Trial) -> None:
        pass


class Again(Twice):
    """Reports each segment twice."""

    def __init__(self, proposer: Any) -> None:
        super().__init__(proposer)
        self.report = self.twice
        self.tell = proposer.tell  # type: ignore[method-assign]

    def twice(self, proposal: Proposal, segment: Segment) -> bool:
        self.proposer.report(proposal, segment)
        return bool(self.proposer.report(proposal, segment))


class Loop:
    """A proposer in a loop of somebody's."""

    wrong: type[Any] = Twice

    def __new__(cls, plan: SearchPlan) -> Any:
        def loop(proposer: Any, pool: MeteredPool) -> None:
            drive(cls.wrong(proposer), pool)

        return ProposerSearcher(lambda pool: Fine(plan, pool.space, pool.facts), loop)

    def search(self, pool: MeteredPool) -> None: ...


class LoopUntold(Loop):
    wrong = Untold


class LoopAgain(Loop):
    wrong = Again
