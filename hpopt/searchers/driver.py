"""The loop that runs proposers' configurations, over all workers of a pool."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import StudyError
from ..pool.metered import MeteredPool
from .base import Proposal, Proposer


def drive(proposer: Proposer, pool: MeteredPool) -> None:
    """Run proposals until the budget is spent or the proposer has none left.

    What happens depends on the order of the replies alone. A proposal is asked for as late as
    possible, so that it rests on everything that has ended.
    """
    running: dict[int, tuple[Proposal, int]] = {}  # worker: proposal, id of its trial
    idle = list(range(pool.size))
    dry = False
    while True:
        while idle and not dry and pool.can_start():
            proposal = proposer.ask()
            if proposal is None:
                dry = True
            elif not isinstance(proposal, Proposal):  # somebody else's
                raise StudyError(
                    f"agent: ask() must return a Proposal or None, but got {proposal!r:.100}"
                )
            else:
                worker = idle.pop(0)
                running[worker] = proposal, pool.start(worker)
                if proposal.why is not None:
                    pool.explain(running[worker][1], proposal.why)
        if not running:
            return
        while (ended := _take_reply(proposer, pool, running)) is None:
            pass
        del running[ended]
        idle = sorted([*idle, ended])


def _take_reply(
    proposer: Proposer, pool: MeteredPool, running: dict[int, tuple[Proposal, int]]
) -> int | None:
    """Collect one reply and go on with its trial; return its worker where the trial ended."""
    worker, reply = pool.collect()
    proposal, trial = running[worker]
    ended = reply.outcome is not None
    if not ended and reply.segment is not None and proposer.report(proposal, reply.segment):
        pool.close_trial(worker)
        ended = True
    if ended:
        proposer.tell(proposal, pool.history.trials[trial])
        return worker
    pool.hold(worker, proposal.values)
    return None


@dataclass(frozen=True)
class ProposerSearcher:
    """A `Searcher` that drives a `Proposer`.

    Attributes:
        build: makes the proposer once the pool, and with it the space, is there.
        loop: runs what it proposes: `drive`, or `promotion.promote`.
    """

    build: Callable[[MeteredPool], Proposer]
    loop: Callable[[Proposer, MeteredPool], None] = drive

    def search(self, pool: MeteredPool) -> None:
        self.loop(self.build(pool), pool)
