"""What a study tells while it runs."""

from collections.abc import Sequence

from ..pool.budget import Budget
from ..record.final import Entrant
from ..record.history import History
from ..record.lines import Event
from ..tracking.client import TrackingProcess
from .open_study import OpenStudy


class Display:
    """Shows nothing; what `hpopt.search` uses. The others add to it."""

    study: OpenStudy | None = None

    def begin(
        self,
        study: OpenStudy,
        history: History,
        budget: Budget,
        tracking: TrackingProcess | None,
    ) -> None:
        """Take note of a study that begins, or is taken up again."""
        self.study, self.settings = study, study.settings
        self.facts, self.space = study.facts, study.space
        self.history, self.budget, self.tracking = history, budget, tracking
        self.begun()

    def begun(self) -> None:
        """Show that it has begun."""

    def event(self, event: Event) -> None:
        """Show that something happened; the history has it already."""

    def judging(self, entrants: Sequence[Entrant]) -> None:
        """Show that the search is over, and its best trials are being judged."""

    def end(self) -> None:
        """Show that training is over; what is left is to write the record."""
