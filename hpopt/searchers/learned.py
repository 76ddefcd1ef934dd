"""A searcher that learned: what a ramp shows, and what trials came to, read by value networks.

In the first trial the learning rate rises an octave at a time, without a penalty, while each level
is probed. Where the objective rises the trial goes back to its best point; the networks say which
learning rate, divergence weight and batch size are best, and the trial goes on with these to its
end, with linear decay under guard. The next trials hold what the networks then say, from all that
was seen; later ones are TPE's, which is told of the held ones. Where a trial has no room for a
ramp, or no loss to probe, networks choose the first trial without one. `docs/learned.md` has how
they learned, and what they are worth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from hpopt_envs.records import RunFacts
from hpopt_search_spaces import Value

from ..policies.files import load_policy
from ..policies.grid import ramp_steps
from ..policies.sight import RAMP_CHANNELS, RISE, Sight
from ..policies.values import Values, refined
from ..pool.metered import MeteredPool
from .base import Proposal, SearchPlan
from .cells import WEIGHT, Cells
from .driver import drive
from .optuna_proposer import OptunaProposer
from .steered import SteeredTrial

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial

PROPOSED = 5  # trials after which TPE goes on
RISEN = 0.03  # of the base model's loss: a held trial whose training loss is so far above it ends
PATIENCE = 0.25  # of a trial, before that


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
        steps = ramp_steps(cells.steps, cells.levels) if may_ramp(pool) else 0
        if steps and pool.can_start():
            _first_trial(SteeredTrial(pool, cells.rate, self.plan.observation), judge, steps, pool)
        drive(LearnedProposer(judge, self.plan, pool.facts), pool)


def may_ramp(pool: MeteredPool) -> bool:
    """Return whether the learning rate may move inside a trial, and there is something to probe."""
    return pool.space["learning_rate"].dynamic and pool.facts.has_probe


class Judge:
    """What is known of a task so far, and what the networks make of it.

    Args:
        values: the networks.
        cells: of the space.
        facts: of the training run.

    Attributes:
        cells: of the space.
    """

    def __init__(self, values: Values, cells: Cells, facts: RunFacts) -> None:
        self.cells = cells
        self._values, self._facts = values, facts
        self._weight = facts.forgetting_weight / facts.objective_scale
        default = float(cells.rate.default)
        legal = cells.legal
        self._ramp = torch.full((cells.levels, len(RAMP_CHANNELS)), torch.nan)
        self._gains = torch.full((cells.levels, len(legal)), torch.nan)
        self._open = legal.expand(cells.levels, -1).clone()  # what is neither tried nor under way
        self._sight = Sight(
            ramps=self._ramp[None],
            base_loss=torch.tensor([facts.base_loss]),
            forgetting_weight=torch.tensor([self._weight]),
            steps=torch.tensor([float(cells.steps)]),
            adapters=torch.tensor([float(facts.lora)]),
            default=torch.tensor([cells.level_of(default)]),
            gains=self._gains[None],
        )

    def see(self, level: int, segment: "Segment") -> None:
        """Take in what a ramp's level showed."""
        assert segment.probe_loss is not None
        forgetting = segment.probe_forgetting or 0.0
        shown = torch.tensor([segment.probe_loss, forgetting, segment.gradient_norm])
        lost = not bool(shown.isfinite().all())
        self._ramp[level] = torch.inf if lost else shown

    def choose(self) -> tuple[int, float] | None:
        """Return the cell and the level of the lowest expected regret; None if none is left.

        It counts as under way from then on. Its level is refined between those of the grid.
        """
        if not bool(self._open.any()):
            return None
        mean, _ = self._values.predict(self._sight)
        expected = torch.where(self._open, mean[0], torch.inf)
        cell = int(expected.min(0).values.argmin())
        level, offset = refined(expected[:, cell])
        self._open[level, cell] = False
        return cell, level + offset

    def learn(self, values: Mapping[str, Value], trial: "Trial") -> None:
        """Take in how a trial ended that held a configuration, or ended with one."""
        level, cell = self.cells.place(values)
        self._open[level, cell] = False
        self._gains[level, cell] = self._gain(trial)

    def _gain(self, trial: "Trial") -> float:
        """Return (base objective − objective)/base loss, in nats whatever the objective is."""
        metrics = trial.segments[-1].metrics if trial.segments else {}
        if trial.value is None or "loss" not in metrics:
            return -math.inf
        value = metrics["loss"] + self._weight * metrics.get("forgetting", 0.0)
        return (self._facts.base_metrics["loss"] - value) / self._facts.base_loss


def _first_trial(trial: SteeredTrial, judge: Judge, steps: int, pool: MeteredPool) -> None:
    """Run a trial to its end: a ramp, a choice, a decay."""
    _ramp(trial, judge, steps, pool)
    chosen = judge.choose()
    assert chosen is not None
    values = judge.cells.values(*chosen)
    own = trial.configuration(**{n: v for n, v in values.items() if n in pool.space})
    peak = trial.decay(own, float(values["learning_rate"]))
    if not trial.failed:
        held = {**values, "learning_rate": judge.cells.rate.snap(peak)}
        judge.learn(held, pool.trials[0])


def _ramp(trial: SteeredTrial, judge: Judge, steps: int, pool: MeteredPool) -> None:
    """Raise the learning rate by the octave until the objective rises, and go back to its best."""
    free = {WEIGHT: 0.0} if judge.cells.weights and 0.0 in judge.cells.weights else {}
    values = trial.configuration(**trial.smallest_batch(), **free)
    for level in range(judge.cells.levels):
        rate = judge.cells.rate.low * 2.0**level
        trial.train({**values, "learning_rate": rate}, steps)
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
        self._judge, self._facts = judge, facts
        rest = replace(plan, agent="tpe", prior="none")
        self._tpe = OptunaProposer(judge.cells.space, rest, facts)
        self._proposed = 0

    def ask(self) -> Proposal | None:
        chosen = self._judge.choose() if self._proposed < PROPOSED else None
        if chosen is not None:
            self._proposed += 1
            self._tpe.enqueue(self._judge.cells.values(*chosen))
        return self._tpe.ask()

    def report(self, proposal: Proposal, segment: "Segment") -> bool:
        """End what is worse than the base model after a quarter of the trial."""
        late = segment.training_tokens >= PATIENCE * self._facts.trial_tokens
        return late and segment.train_loss > (1 + RISEN) * self._facts.base_loss

    def tell(self, proposal: Proposal, trial: "Trial") -> None:
        self._judge.learn(proposal.values, trial)
        self._tpe.tell(proposal, trial)
