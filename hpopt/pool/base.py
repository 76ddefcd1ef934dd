"""The one seam between those who decide and where trials run."""

from typing import Protocol

from hpopt_envs.messages import Reply, Request
from hpopt_envs.records import RunFacts
from hpopt_search_spaces import SearchSpace


class Pool(Protocol):
    """Workers, each with one environment and at most one outstanding request.

    Attributes:
        size: number of workers.
        facts: of the training run.
        space: resolved.
    """

    size: int
    facts: RunFacts
    space: SearchSpace

    @property
    def silence_limit(self) -> float | None:
        """Seconds after which a silent worker counts as dead; None where none does, or not yet."""

    def submit(self, worker: int, request: Request) -> None:
        """Hand a request to an idle worker."""

    def collect(self, worker: int | None = None) -> tuple[int, Reply]:
        """Wait for a reply: of that worker, else of the one that was asked first.

        A dead worker is a reply too (`Reply.died`); the next request to it goes to a new one.
        """

    def close(self) -> None:
        """End all workers."""
