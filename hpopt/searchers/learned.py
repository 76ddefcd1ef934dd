"""A searcher that learned: what a ramp shows, and what trials came to, read by value networks.

In the first trial the learning rate rises an octave at a time, while each level is probed. Where
the objective rises the trial goes back to its best point; the networks say which learning rate,
divergence weight and batch size are best, and the trial goes on with these to its end, with linear
decay under guard. The second holds the same, the next ones what the networks then say, from what
was seen and what came of it; later ones are TPE's, which is told of the held ones. Where a trial
has no room for a ramp, networks choose the first trial without one. `docs/learned.md` has how
they learned, and what they are worth.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from hpopt_envs.records import Outcome, RunFacts

from ..policies.files import load_policy
from ..policies.grid import ramp_steps
from ..policies.sight import RISE
from ..pool.metered import MeteredPool
from .base import Proposal, SearchPlan
from .cells import BATCH, RATE, WEIGHT, Cells
from .driver import drive
from .judge import Judge
from .optuna_proposer import OptunaProposer
from .steered import SteeredTrial

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial

PROPOSED = 5  # trials after which TPE goes on


def build(plan: SearchPlan) -> "LearnedSearcher":
    """See `AgentSpec.build`."""
    return LearnedSearcher(plan)


@dataclass(frozen=True)
class LearnedSearcher:
    """See the module. Workers but the first have nothing to do during the first trial's ramp."""

    plan: SearchPlan

    def search(self, pool: MeteredPool) -> None:
        torch.set_num_threads(1)  # the same sums in the same order on every machine
        cells = Cells.of(pool.space, pool.facts)
        judge = Judge(load_policy(self.plan.policy).values, cells, pool.facts)
        steps = ramp_steps(cells.steps, cells.levels) if _may_ramp(pool) else 0
        if steps and pool.can_start():
            _first_trial(SteeredTrial(pool, cells.rate, self.plan.observation), judge, steps, pool)
        drive(LearnedProposer(judge, self.plan, pool.facts), pool)


def _may_ramp(pool: MeteredPool) -> bool:
    """Return whether all that the networks choose may move inside a trial."""
    chosen = [pool.space[name] for name in (RATE, BATCH, WEIGHT) if name in pool.space]
    return all(parameter.dynamic for parameter in chosen)


def _first_trial(trial: SteeredTrial, judge: Judge, steps: int, pool: MeteredPool) -> None:
    """Run a trial to its end: a ramp, a choice, a decay."""
    _ramp(trial, judge, steps, pool)
    if trial.ended:
        return
    choice = judge.choose()
    assert choice is not None
    pool.explain(0, choice.why)
    rate = float(choice.values[RATE])
    known = {name: choice.values[name] for name in (BATCH, WEIGHT) if name in pool.space}
    peak = trial.decay(trial.configuration(**known), rate)
    # What it came to isn't comparable with trials that were spared the ramp.
    if peak < rate or pool.trials[0].outcome is Outcome.EXPLODED:
        judge.lose(choice.values)
    else:
        judge.reopen(choice.values)


def _ramp(trial: SteeredTrial, judge: Judge, steps: int, pool: MeteredPool) -> None:
    """Raise the learning rate by the octave until the objective rises, and go back to its best."""
    values = trial.configuration(**trial.smallest_batch())
    for level in range(judge.cells.levels):
        trial.train({**values, RATE: judge.cells.rate_at(level)}, steps)
        if trial.ended:
            return
        judge.see(level, pool.trials[0].segments[-1])
        if trial.rose(RISE):
            return
        lowest = trial.keep()
    if not lowest:
        trial.go_back()


class LearnedProposer:
    """What the networks say, then TPE; see `Proposer`.

    Args:
        judge: that knows the first trial, where there was one.
        plan: of the study.
        facts: of the training run.
    """

    def __init__(self, judge: Judge, plan: SearchPlan, facts: RunFacts) -> None:
        self._judge = judge
        rest = replace(plan, agent="tpe", prior="none")
        self._tpe = OptunaProposer(judge.cells.space, rest, facts)
        self._proposed = 0

    def ask(self) -> Proposal | None:
        choice = self._judge.choose() if self._proposed < PROPOSED else None
        if choice is None:
            return self._tpe.ask()
        self._proposed += 1
        self._tpe.enqueue(choice.values)
        return replace(self._tpe.ask(), why=choice.why)

    def report(self, proposal: Proposal, segment: "Segment") -> bool:
        return False

    def tell(self, proposal: Proposal, trial: "Trial") -> None:
        self._judge.learn(proposal.values, trial)
        self._tpe.tell(proposal, trial)
