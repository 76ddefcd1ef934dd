"""Configurations transferred from other tasks, in order; see `hpopt.portfolio`."""

from .base import SearchPlan
from .default import ListProposer
from .driver import ProposerSearcher


def build(plan: SearchPlan) -> ProposerSearcher:
    """See `AgentSpec.build`."""
    return ProposerSearcher(lambda pool: ListProposer(plan.portfolio))
