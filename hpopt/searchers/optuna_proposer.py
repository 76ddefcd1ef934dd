"""Optuna's samplers and pruners, by ask and tell on a study in memory."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from hpopt_envs.records import Outcome
from hpopt_search_spaces import SearchSpace

from .base import Proposal, SearchPlan
from .driver import ProposerSearcher
from .optuna_settings import LEARN_FROM_PRUNED, make_encoding, make_pruner, make_sampler

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial


def build(plan: SearchPlan) -> ProposerSearcher:
    """See `AgentSpec.build`."""
    return ProposerSearcher(
        lambda pool: OptunaProposer(
            pool.space, plan, segments=pool.facts.segments, worst_value=pool.worst_value
        )
    )


class OptunaProposer:
    """A sampler of Optuna's, with or without a pruner; see `Proposer`.

    A trial that exploded or ran out of memory is told with the worst value so far, so that the
    sampler learns where the cliff is; samplers don't learn from failed trials. A pruned trial is
    told as such, or with its last objective where the sampler would learn nothing otherwise.

    Args:
        space: resolved.
        plan: `agent` names the sampler.
        segments: of a trial.
        worst_value: returns what a trial without a value is told as, as minimised.
    """

    def __init__(
        self,
        space: SearchSpace,
        plan: SearchPlan,
        *,
        segments: int,
        worst_value: Callable[[], float],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._prunes = plan.pruner != "none"
        self._learns_from_pruned = plan.agent in LEARN_FROM_PRUNED
        self._worst_value = worst_value
        self._encoding = make_encoding(plan.agent, space)
        self._trials: dict[int, optuna.Trial] = {}
        self._study = optuna.create_study(
            study_name="hpopt",  # Hyperband deals trials to its brackets by name and number
            sampler=make_sampler(plan, space.dimension),
            pruner=make_pruner(plan, segments),
        )
        if plan.prior == "default":
            self._study.enqueue_trial(self._encoding.parameters(space.defaults()))

    def ask(self) -> Proposal:
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return Proposal(trial.number, self._encoding.suggest(trial))

    def report(self, proposal: Proposal, segment: "Segment") -> bool:
        if not self._prunes or segment.objective is None:
            return False
        trial = self._trials[proposal.number]
        trial.report(segment.objective, step=segment.id)
        return trial.should_prune()

    def tell(self, proposal: Proposal, trial: "Trial") -> None:
        asked = self._trials.pop(proposal.number)
        if trial.pruned and self._learns_from_pruned:
            self._study.tell(asked, state=TrialState.PRUNED)
        elif trial.pruned:
            self._study.tell(asked, trial.segments[-1].objective)
        elif trial.outcome is Outcome.FAILED:
            self._study.tell(asked, state=TrialState.FAIL)
        else:
            value = self._worst_value() if trial.value is None else trial.value
            self._study.tell(asked, value)
