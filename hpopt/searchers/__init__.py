"""Who decides. Importing this is light; what a searcher needs is imported when it is made."""

from .base import AgentSpec, Proposal, Proposer, Searcher, SearchPlan
from .registry import AGENTS, PRUNERS, build_searcher, check_space, choose_agent, find_agent

__all__ = [
    "AGENTS",
    "PRUNERS",
    "AgentSpec",
    "Proposal",
    "Proposer",
    "SearchPlan",
    "Searcher",
    "build_searcher",
    "check_space",
    "choose_agent",
    "find_agent",
]
