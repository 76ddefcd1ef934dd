"""What a study tells while it runs."""

from hpopt_envs.records import RunFacts
from hpopt_search_spaces import SearchSpace

from ..pool.budget import Budget
from ..record.history import History
from ..record.journal import Event
from ..settings.study import Settings
from ..tracking.client import TrackingProcess


class Display:
    """Shows nothing; what `hpopt.search` uses. The others add to it."""

    name: str | None = None

    def begin(
        self,
        settings: Settings,
        name: str,
        facts: RunFacts,
        space: SearchSpace,
        history: History,
        budget: Budget,
        tracking: TrackingProcess | None,
    ) -> None:
        """A study begins, or is taken up again."""
        self.settings, self.name, self.facts, self.space = settings, name, facts, space
        self.history, self.budget, self.tracking = history, budget, tracking

    def event(self, event: Event) -> None:
        """Something happened; the history has it already."""

    def confirming(self, seeds: int) -> None:
        """The search is over, its winner is being judged."""

    def end(self) -> None:
        """Training is over; what is left is to write the record."""
