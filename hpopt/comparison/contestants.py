"""Who takes part in a comparison: a searcher, with or without prior, pruner and own space."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import StudyError
from ..searchers.base import AgentSpec
from ..searchers.registry import check_prior, find_agent
from ..settings.parsing import LABEL, parse_label

ALWAYS = ("default", "random")  # agents that are in every table
FORM = f"{LABEL}[@SPACE], such as tpe, tpe-cold, tpe+promotion or tpe@scheduled"


@dataclass(frozen=True)
class Contestant:
    """A searcher in a comparison.

    Attributes:
        label: as asked for and shown, see `FORM`.
        agent, pruner: names in the registry.
        prior: "none" where it is cold, else "default".
        space: of its own; None for the comparison's.
    """

    label: str
    agent: str
    pruner: str = "none"
    prior: str = "default"
    space: str | None = None

    @classmethod
    def parse(cls, label: str) -> "Contestant":
        """Read a label.

        Raises:
            StudyError: it hasn't the form, or names no agent or pruner.
        """
        of_search, at, space = label.partition("@")
        try:
            if at and (not space or "@" in space):
                raise StudyError("no space")
            agent, prior, pruner = parse_label(of_search)
        except StudyError:
            raise StudyError(f"agents: each must be {FORM}, but got {label!r}") from None
        # The default is among the configurations that a portfolio chooses from.
        if find_agent(agent, pruner).needs_studies:
            prior = "none"
        check_prior(agent, prior)
        return cls(label, agent, pruner, prior, space or None)

    @property
    def spec(self) -> AgentSpec:
        """What is known of the searcher."""
        return find_agent(self.agent, self.pruner)

    @property
    def file_name(self) -> str:
        """The label in the characters that a study's name may have."""
        return re.sub(r"[^A-Za-z0-9_-]", "-", self.label)


def parse_contestants(labels: Sequence[str]) -> tuple[Contestant, ...]:
    """Read labels, and add the default alone and random, which are in every table.

    Raises:
        StudyError: one is wrong, or two are the same.
    """
    contestants = [Contestant.parse(label) for label in labels]
    there = {contestant.agent for contestant in contestants}
    contestants += [Contestant(agent, agent) for agent in ALWAYS if agent not in there]
    names = [contestant.file_name for contestant in contestants]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"agents: must be different, but {name!r} is there twice")
    return tuple(contestants)
