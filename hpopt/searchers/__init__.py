"""Who decides. Importing this is light; what a searcher needs is imported when it is made."""

from .base import AgentSpec, Proposal, Proposer, Searcher, SearchPlan
from .registry import AGENTS, PRIORS, PRUNERS, check_space, choose_agent, find_agent, make_searcher

__all__ = [
    "AGENTS",
    "PRIORS",
    "PRUNERS",
    "AgentSpec",
    "Proposal",
    "Proposer",
    "SearchPlan",
    "Searcher",
    "check_space",
    "choose_agent",
    "find_agent",
    "make_searcher",
]
