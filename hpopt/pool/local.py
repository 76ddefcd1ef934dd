"""Workers in this process: slots that are served one after the other."""

from collections.abc import Mapping
from typing import Any

from hpopt_envs.messages import Reply, Request
from hpopt_envs.serving import build, serve


class LocalPool:
    """See `Pool`. The environments share one training run, so that weights are loaded once."""

    silence_limit = None  # nobody is there to see that we hang

    def __init__(self, factory: str, settings: Mapping[str, Any], size: int = 1) -> None:
        first = build(factory, settings)
        self._envs = [first, *(first.twin() for _ in range(size - 1))]
        self._waiting: dict[int, Request] = {}
        self.size = size
        self.facts = first.facts
        self.space = first.space

    def submit(self, worker: int, request: Request) -> None:
        self._waiting[worker] = request

    def collect(self, worker: int | None = None) -> tuple[int, Reply]:
        if worker is None:
            worker = next(iter(self._waiting))
        return worker, serve(self._envs[worker], self._waiting.pop(worker))

    def close(self) -> None:
        self._waiting.clear()
        for env in self._envs:
            env.close()
