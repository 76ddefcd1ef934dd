"""Successive halving that resumes: trials pause at rungs, and the best third of each goes on.

This is ASHA, asynchronous successive halving (Li et al. 2020, arXiv 1810.05934). Optuna's pruners
only stop: a trial that one ends early stays ended, however few of those that follow are better.
"""

from dataclasses import dataclass, field

from hpopt_envs.records import Segment

from ..pool.metered import MeteredPool
from .base import Proposal, Proposer
from .pruners import REDUCTION_FACTOR

KEPT = 4
"""Paused trials a rung, at most. One that four paused ones beat hardly ever goes on: on simulated
normal values (300 runs, 960 segments of budget, trials of 16), 28.9 trials were completed, against
29.1 where all were kept. Snapshots are thus bounded, and samplers learn of bad trials at once."""


def rung_lengths(segments: int) -> list[int]:
    """Return after how many segments trials pause: about a ninth and a third of them.

    Args:
        segments: of a trial.

    Returns:
        At least 1 and less than `segments`, rising; fewer than two where a trial is short.
    """
    shares = (segments / REDUCTION_FACTOR**k for k in (2, 1))
    return sorted({length for share in shares if (length := max(1, round(share))) < segments})


@dataclass
class Rung:
    """The trials that reached a number of segments.

    Attributes:
        values: by trial, what was measured there, to be minimised.
        paused: those that are still there.
    """

    values: dict[int, float] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)

    def promotable(self) -> int | None:
        """Return the best paused trial in the top third of all that got here, if there is one."""
        top = sorted(self.values, key=self._order)[: len(self.values) // REDUCTION_FACTOR]
        return next((trial for trial in top if trial in self.paused), None)

    def best(self) -> int:
        """Return the best paused trial."""
        return min(self.paused, key=self._order)

    def worst(self) -> int:
        """Return the worst paused trial."""
        return max(self.paused, key=self._order)

    def _order(self, trial: int) -> tuple[float, int]:
        return self.values[trial], trial


def promote(proposer: Proposer, pool: MeteredPool) -> None:
    """Run a proposer's configurations with promotion, until the budget is spent.

    An idle worker takes up the best promotable trial of the highest rung that has one, else a new
    trial. Where the budget allows neither and nothing runs, the best paused trial of the highest
    rung goes on, so that the rest of the budget completes what is left to complete. At the end,
    paused trials are closed.

    Optuna's trial stays running while ours is paused, and is told once, when ours ends. Meanwhile
    its objectives are reported, by which TPE ranks it once it is told as pruned. Until then TPE
    takes it for a bad one, as any running trial (its constant liar), and other samplers ignore
    it. Few trials are in that state at a time, see `KEPT`.
    """
    _Promotion(proposer, pool).run()


class _Promotion:
    def __init__(self, proposer: Proposer, pool: MeteredPool) -> None:
        self._proposer = proposer
        self._pool = pool
        lengths = rung_lengths(pool.facts.segments)
        # By length, the highest first.
        self._rungs = {length: Rung() for length in reversed(lengths)}
        self._proposals: dict[int, Proposal] = {}  # by trial, of those that haven't ended
        self._running: dict[int, int] = {}  # trial by worker
        self._idle = list(range(pool.size))

    def run(self) -> None:
        while True:
            while self._idle and self._occupy(self._idle[0]):
                self._idle.pop(0)
            if self._running:
                self._take_reply()
            elif paused := sorted(t for rung in self._rungs.values() for t in rung.paused):
                for trial in paused:
                    self._close(trial)
            else:
                return

    def _occupy(self, worker: int) -> bool:
        """Give an idle worker something to do; False where there is nothing."""
        rungs = self._rungs.values()
        trial = next((t for rung in rungs if (t := rung.promotable()) is not None), None)
        if trial is not None and self._pool.can_unpause(trial):
            return self._go_on(worker, trial)
        if self._pool.can_start() and (proposal := self._proposer.ask()) is not None:
            self._running[worker] = self._pool.start(worker)
            self._proposals[self._running[worker]] = proposal
            return True
        trial = next((rung.best() for rung in rungs if rung.paused), None)
        if not self._running and trial is not None and self._pool.can_unpause(trial):
            return self._go_on(worker, trial)
        return False

    def _go_on(self, worker: int, trial: int) -> bool:
        """Take up a paused trial."""
        for rung in self._rungs.values():
            rung.paused.discard(trial)
        self._running[worker] = trial
        self._pool.unpause(worker, trial)
        self._advance(worker)
        return True

    def _advance(self, worker: int) -> None:
        trial = self._running[worker]
        reached = len(self._pool.history.trials[trial].segments) + 1
        self._pool.hold(worker, self._proposals[trial].values, save=reached in self._rungs)

    def _take_reply(self) -> None:
        worker, reply = self._pool.collect()
        trial = self._running[worker]
        if reply.outcome is not None:
            self._free(worker)
            self._tell(trial)
            return
        if reply.segment is not None:
            self._proposer.report(self._proposals[trial], reply.segment)
            rung = self._rungs.get(len(self._pool.history.trials[trial].segments))
            if rung is not None:
                self._pause(worker, rung, reply.segment)
                return
        self._advance(worker)

    def _pause(self, worker: int, rung: Rung, segment: Segment) -> None:
        trial = self._running[worker]
        self._pool.pause(worker)
        self._free(worker)
        assert segment.objective is not None  # where there is a pruner, all segments are validated
        rung.values[trial] = self._pool.facts.constrained(segment.objective, segment.metrics)
        rung.paused.add(trial)
        if len(rung.paused) > KEPT:
            self._close(rung.worst())

    def _close(self, trial: int) -> None:
        for rung in self._rungs.values():
            rung.paused.discard(trial)
        self._pool.close_paused(trial)
        self._tell(trial)

    def _tell(self, trial: int) -> None:
        self._proposer.tell(self._proposals.pop(trial), self._pool.history.trials[trial])

    def _free(self, worker: int) -> None:
        del self._running[worker]
        self._idle = sorted([*self._idle, worker])
