"""Searchers that learned: what a ramp shows, and what trials came to, read by value networks.

The first trial is that of `range_test`: it finds a learning rate by a ramp, and goes on with it.
The next ones hold what the networks then expect the most of: a learning rate, a divergence weight
and a batch size. Later ones are TPE's, which is told of the held ones. `docs/learned.md` has how
the networks learned, and what they are worth.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from hpopt_envs.records import RunFacts

from ..policies.files import load_policy
from ..policies.grid import ramp_steps
from ..policies.sight import MOST_LEFT
from ..pool.metered import MeteredPool
from .base import Proposal, SearchPlan
from .cells import Cells
from .driver import drive
from .judge import Judge
from .optuna_proposer import OptunaProposer
from .steered import SteeredTrial

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial

PRACTISED = ("learned", "dqn")  # agents whose networks practised; the others' were only fitted
PROPOSED = MOST_LEFT  # trials after the first one, before TPE goes on


def build(plan: SearchPlan) -> "LearnedSearcher":
    """See `AgentSpec.build`."""
    return LearnedSearcher(plan)


@dataclass(frozen=True)
class LearnedSearcher:
    """See the module. Workers but the first have nothing to do during the first trial."""

    plan: SearchPlan

    def search(self, pool: MeteredPool) -> None:
        torch.set_num_threads(1)  # the same sums in the same order on every machine
        cells = Cells.of(pool.space, pool.facts)
        policy = load_policy(self.plan.policy)
        networks = policy.practised if self.plan.agent in PRACTISED else policy.fitted
        judge = Judge(networks, cells, pool.facts)
        if not pool.can_start():
            return
        _first_trial(self.plan, pool, judge)
        drive(LearnedProposer(judge, self.plan, pool.facts), pool)


def _first_trial(plan: SearchPlan, pool: MeteredPool, judge: Judge) -> None:
    """Run the first trial to its end.

    What it came to isn't told to the networks: it isn't comparable with trials that were spared the
    ramp. Nor is a ramp of a trial so short that levels were left out.
    """
    cells = judge.cells

    def watch() -> None:
        if ramp_steps(cells.steps, cells.levels):
            judge.see(pool.trials[0].segments[-1])

    found = SteeredTrial(pool, cells.rate, plan.observation).find(watch)
    pool.explain(0, judge.seen(found))


class LearnedProposer:
    """What the networks say, then TPE; see `Proposer`.

    Args:
        judge: that knows the ramp of the first trial.
        plan: of the study.
        facts: of the training run.
    """

    def __init__(self, judge: Judge, plan: SearchPlan, facts: RunFacts) -> None:
        self._judge = judge
        rest = replace(plan, agent="tpe", prior="none")
        self._tpe = OptunaProposer(judge.cells.space, rest, facts)
        self._left = max(1, min(PROPOSED, plan.trials - 1))

    def ask(self) -> Proposal | None:
        choice = self._judge.choose(self._left) if self._left else None
        if choice is None:
            return self._tpe.ask()
        self._left -= 1
        self._tpe.enqueue(choice.values)
        return replace(self._tpe.ask(), why=choice.why)

    def report(self, proposal: Proposal, segment: "Segment") -> bool:
        return False

    def tell(self, proposal: Proposal, trial: "Trial") -> None:
        self._judge.learn(proposal.values, trial)
        self._tpe.tell(proposal, trial)
