"""Proposers that break one promise each, and loops that run one wrongly."""

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


class Unrounded(Fine):
    """Values of more than six digits are legal too: they are trained as they are."""

    def values(self) -> Mapping[str, Value]:
        return {**super().values(), "learning_rate": 1e-3 * (1 + self.draw().random() / 3)}


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
