"""The default configuration alone: what a search has to be better than.

Under the name `hold` it has the shape that agents' trials have, a constant learning rate. What that
is worth beside `default`'s decay is the shape's, and no agent has learned it.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hpopt_search_spaces import Value

from .base import Proposal, SearchPlan
from .driver import ProposerSearcher

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial


def build(plan: SearchPlan) -> ProposerSearcher:
    """See `AgentSpec.build`."""
    return ProposerSearcher(lambda pool: ListProposer([pool.space.defaults()]))


class ListProposer:
    """Proposes some configurations in order, and then has none left."""

    def __init__(self, configurations: Iterable[Mapping[str, Value]]) -> None:
        self._proposals = (Proposal(*pair) for pair in enumerate(configurations))

    def ask(self) -> Proposal | None:
        return next(self._proposals, None)

    def report(self, proposal: Proposal, segment: "Segment") -> bool:
        return False

    def tell(self, proposal: Proposal, trial: "Trial") -> None:
        pass
