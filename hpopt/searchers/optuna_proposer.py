"""Optuna's samplers and pruners, by ask and tell on a study in memory."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from hpopt_envs.records import Outcome, RunFacts
from hpopt_search_spaces import SearchSpace, Value

from .base import NO_PRUNER, Proposal, SearchPlan, known_before
from .driver import ProposerSearcher, drive
from .promotion import promote
from .registry import find_pruner, make_pruner
from .samplers import SAMPLERS

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial


def build(plan: SearchPlan) -> ProposerSearcher:
    """See `AgentSpec.build`."""
    loop = promote if find_pruner(plan.pruner).pauses else drive
    return ProposerSearcher(lambda pool: OptunaProposer(pool.space, plan, pool.facts), loop)


class OptunaProposer:
    """A sampler of Optuna's, with or without a pruner; see `Proposer`.

    A trial that exploded or ran out of memory is told with the worst value so far, so that the
    sampler learns where the cliff is; samplers don't learn from failed trials. A pruned trial is
    told as such, or with its last objective where the sampler would learn nothing otherwise.

    Under a limit on divergence, samplers that take constraints are told the objective and, as the
    constraint, divergence − limit; the others, and pruners, the constrained objective (see
    `RunFacts.constrained`).

    Args:
        space: resolved.
        plan: `agent` names the sampler, one of `SAMPLERS`.
        facts: of the training run.
        first: configurations to try before the sampler's own, in place of the prior.

    Attributes:
        study: Optuna's, in memory: all that the sampler was told.
    """

    def __init__(
        self,
        space: SearchSpace,
        plan: SearchPlan,
        facts: RunFacts,
        first: Sequence[Mapping[str, Value]] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._facts = facts
        sampler = SAMPLERS[plan.agent]
        self._limit = facts.max_divergence if sampler.takes_constraints else None
        self._prunes = plan.pruner != NO_PRUNER
        self._learns_from_pruned = sampler.learns_from_pruned
        self._encoding = sampler.encoding(space)
        self._trials: dict[int, optuna.Trial] = {}
        self._values: list[float] = []  # of trials that ended, or were pruned, with one
        self._excesses: list[float] = []  # the same trials' divergence − limit
        self.study = optuna.create_study(
            study_name="hpopt",  # Hyperband deals trials to its brackets by name and number
            sampler=sampler.of(plan, space.dimension),
            pruner=make_pruner(plan, facts.segments),
        )
        prior = known_before(space, facts) if plan.prior == "default" else []
        for values in first or prior:
            self.enqueue(values)

    def enqueue(self, values: Mapping[str, Value]) -> None:
        """Let a configuration be what is proposed next, after those enqueued before."""
        self.study.enqueue_trial(self._encoding.parameters(values))

    def ask(self) -> Proposal:
        trial = self.study.ask()
        self._trials[trial.number] = trial
        return Proposal(trial.number, self._encoding.suggest(trial))

    def report(self, proposal: Proposal, segment: "Segment") -> bool:
        if not self._prunes or segment.objective is None:
            return False
        trial = self._trials[proposal.number]
        value = self._facts.constrained(segment.objective, segment.metrics)
        trial.report(value, step=segment.id)
        return bool(trial.should_prune())  # some pruners return NumPy's

    def tell(self, proposal: Proposal, trial: "Trial") -> None:
        asked = self._trials.pop(proposal.number)
        if trial.outcome is Outcome.FAILED:
            self.study.tell(asked, state=TrialState.FAIL)
            return
        ended = trial.outcome in (Outcome.COMPLETED, Outcome.STOPPED)
        if ended and trial.segments[-1].objective is not None:
            self._take_in(trial.segments[-1])
            value, excess = self._values[-1], self._excesses[-1]
        else:
            if self._facts.external and not self._values:  # no base model to be as bad as
                self.study.tell(asked, state=TrialState.FAIL)
                return
            # Where nothing is known yet, as bad as the base model at twice the divergence allowed.
            value = max(self._values, default=self._facts.base_objective)
            excess = max([self._limit or 0.0, *self._excesses])
        if self._limit is not None:
            asked.set_constraint("divergence", excess)
        if trial.pruned and self._learns_from_pruned:
            self.study.tell(asked, state=TrialState.PRUNED)
        else:
            self.study.tell(asked, value)

    def _take_in(self, end: "Segment") -> None:
        """Keep what a trial's last segment is told as."""
        assert end.objective is not None
        if self._limit is None:
            self._values.append(self._facts.constrained(end.objective, end.metrics))
            self._excesses.append(0.0)
        else:
            self._values.append(end.objective)
            self._excesses.append(end.metrics["divergence"] - self._limit)
