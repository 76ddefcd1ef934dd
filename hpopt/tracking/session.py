"""A journal followed from its beginning into MLflow."""

from pathlib import Path

from ..record.folders import StudyFolder
from ..record.journal import JournalReader
from ..settings.study import Level
from . import Ending
from .projection import Parent, Projection

POLL_SECONDS = 1.0
RETRY_SECONDS = 10.0  # after a failure


class Session:
    """A study's record while it is written; after a failure, a new one begins again.

    Args:
        study: its folder.
        uri: MLflow tracking URI.
        experiment: its name.
        level: "parents" leaves the trials' runs out.
        parent: the run that the study's lies below.
    """

    def __init__(
        self, study: Path, uri: str, experiment: str, level: Level, parent: Parent | None = None
    ) -> None:
        self._study = study
        self._reader = JournalReader(StudyFolder(study).journal)
        header, *self._events = self._reader.poll()
        self.projection = Projection(uri, experiment, level, header, parent)

    def write(self) -> int:
        """Write what happened since, and return the number of metrics written."""
        for event in [*self._events, *self._reader.poll()]:
            self.projection.apply(event)
        self._events = []
        return self.projection.flush()

    def finish(self, ending: Ending) -> None:
        """Write what is left, and close the runs."""
        self.projection.finish(ending, self._study)
