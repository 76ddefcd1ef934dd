"""What searchers and proposers do, watched from the pool's side."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hpopt_envs.messages import Reply
from hpopt_envs.records import Segment, Trial
from hpopt_search_spaces import SearchSpace, Value

from ..pool.metered import MeteredPool
from ..searchers.base import Proposal, Proposer
from .requiring import require

IDLE_CALLS = 1000  # in a row that run nothing, after which a searcher counts as one without end


class WatchedPool:
    """A pool that requires of its searcher what `Searcher` says; otherwise the pool itself.

    Args:
        pool: behind it.
        where: names the searcher.
    """

    def __init__(self, pool: MeteredPool, where: str) -> None:
        self._pool = pool
        self._where = where
        self._allowed = False  # the last answer of can_start, until a trial starts
        self._waiting: set[int] = set()
        self._idle_calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def can_start(self) -> bool:
        self._passes_time()
        self._allowed = self._pool.can_start()
        return self._allowed

    def start(self, worker: int, **how: Any) -> int:
        what = "must ask pool.can_start() before each pool.start(), and heed a refusal"
        require(self._allowed, self._where, what, f"a start on worker {worker}")
        self._allowed = False
        busy = self._pool.history.running.get(worker)
        what = f"must start trials on idle workers, and {worker} isn't"
        require(busy is None, self._where, what, f"trial {busy} there")
        self._ask(worker)
        return self._pool.start(worker, **how)

    def advance(self, worker: int, action: Sequence[float], **how: Any) -> None:
        self._go_on(worker)
        self._pool.advance(worker, action, **how)

    def hold(self, worker: int, values: Mapping[str, Value], **how: Any) -> None:
        self._go_on(worker)
        check_values(self._pool.space, values, f"{self._where}: pool.hold()")
        self._pool.hold(worker, values, **how)

    def train(self, worker: int, hyperparameters: Mapping[str, Value], **how: Any) -> None:
        self._go_on(worker)
        self._pool.train(worker, hyperparameters, **how)

    def close_trial(self, worker: int) -> None:
        self._has_trial(worker)
        self._idle_calls = 0
        self._pool.close_trial(worker)

    def pause(self, worker: int) -> None:
        self._has_trial(worker)
        self._pool.pause(worker)

    def can_unpause(self, trial: int) -> bool:
        self._passes_time()
        return self._pool.can_unpause(trial)

    def collect(self) -> tuple[int, Reply]:
        what = "must wait for a reply only where a request is outstanding"
        require(bool(self._waiting), self._where, what, "none")
        worker, reply = self._pool.collect()
        self._waiting.discard(worker)
        self._idle_calls = 0
        return worker, reply

    def check_end(self) -> None:
        """Require that every trial has ended, and that the budget is kept."""
        history = self._pool.history
        running = [t.id for t in history.trials.values() if t.outcome is None]
        what = "every trial must have ended when search() returns"
        require(not running, self._where, what, f"running trials {running}")

    def _go_on(self, worker: int) -> None:
        self._has_trial(worker)
        self._ask(worker)

    def _has_trial(self, worker: int) -> None:
        running = sorted(self._pool.history.running)
        what = "must go on with a worker that has a trial"
        require(worker in running, self._where, what, f"{worker}, where {running} have one")
        what = "must have one request at a time outstanding on a worker"
        require(worker not in self._waiting, self._where, what, f"another on worker {worker}")

    def _ask(self, worker: int) -> None:
        size = self._pool.size
        require(worker in range(size), self._where, f"must use workers 0 to {size - 1}", worker)
        self._waiting.add(worker)
        self._idle_calls = 0

    def _passes_time(self) -> None:
        self._idle_calls += 1
        what = "must return when the pool refuses another trial and none is running"
        got = f"{IDLE_CALLS} questions in a row"
        require(self._idle_calls < IDLE_CALLS, self._where, what, got)


class WatchedProposer:
    """A proposer that is asked and told in the order that `Proposer` says, and answers as it says.

    Args:
        proposer: behind it.
        space: what it proposes from.
        where: names the searcher.
    """

    def __init__(self, proposer: Proposer, space: SearchSpace, where: str) -> None:
        self._proposer = proposer
        self._space = space
        self._where = where
        self._segments: dict[int, int] = {}  # reported so far, of proposals that aren't told
        self._asked = 0

    def ask(self) -> Proposal | None:
        where = f"{self._where}: ask()"
        proposal = self._proposer.ask()
        if proposal is None:
            return None
        what = "must return a Proposal, or None"
        require(isinstance(proposal, Proposal), where, what, repr(proposal))
        what = f"its number must be {self._asked}"
        require(proposal.number == self._asked, where, what, proposal.number)
        check_values(self._space, proposal.values, where)
        self._segments[self._asked] = 0
        self._asked += 1
        return proposal

    def report(self, proposal: Proposal, segment: Segment) -> bool:
        due = self._due(proposal, "report()")
        what = f"segments must be reported in order, and {due} is next"
        require(segment.id == due, f"{self._where}: report()", what, segment.id)
        self._segments[proposal.number] += 1
        ends = self._proposer.report(proposal, segment)
        what = "must return True or False"
        require(isinstance(ends, bool), f"{self._where}: report()", what, repr(ends))
        return ends

    def tell(self, proposal: Proposal, trial: Trial) -> None:
        self._due(proposal, "tell()")
        what = "must be told of trials that have ended"
        got = f"trial {trial.id}, which runs"
        require(trial.outcome is not None, f"{self._where}: tell()", what, got)
        del self._segments[proposal.number]
        self._proposer.tell(proposal, trial)

    def check_end(self) -> None:
        """Require that every proposal was told."""
        left = sorted(self._segments)
        what = "each proposal must be told once"
        require(not left, f"{self._where}: tell()", what, f"proposals {left} untold")

    def _due(self, proposal: Proposal, method: str) -> int:
        known = proposal.number in self._segments
        what = "must be of a proposal that was asked for and isn't told yet"
        require(known, f"{self._where}: {method}", what, proposal.number)
        return self._segments[proposal.number]


def check_values(space: SearchSpace, values: Mapping[str, Value], where: str) -> None:
    """Require native, legal values of the active hyperparameters, all of them and no others."""
    for name, value in values.items():
        native = type(value) in (bool, int, float, str)
        what = f"{name} must be a number, a string or a boolean of Python's"
        require(native, where, what, value)
        require(name in space, where, f"must be one of {list(space.names)}", repr(name))
        require(space[name].contains(value), where, f"{name} must be legal", repr(value))
    active = list(space.snap(values))
    what = "must have a value of each active hyperparameter, and no other: "
    require(set(active) == set(values), where, f"{what}{active}", list(values))
    json.dumps(dict(values))
