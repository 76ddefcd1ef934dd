"""Trials that outlive their workers, and the process that asked for them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hpopt_envs.messages import Advance, End, Reply, Request, Save, Start, digest_of
from hpopt_envs.records import Outcome, Trial

from ..errors import Paused
from ..record.files import remove
from ..record.history import History
from .base import Pool
from .snapshots import SnapshotFolder


class EnduringPool:
    """A pool that remembers what each running trial was asked, and takes snapshots.

    From these it brings a worker to where a trial stands: where the one before died, and where an
    earlier process was killed. Until `go_live`, requests are remembered and nothing is run.

    Args:
        pool: where trials run.
        history: says where they stand.
        folder: for snapshots.
        lose: called with a worker whose trial needs a segment once more, before it is run.

    Attributes:
        waiting: workers whose last request isn't answered, in the order of asking.
        kept: ended trials whose last snapshot stays, as the best one's does.
    """

    def __init__(
        self, pool: Pool, history: History, folder: Path, lose: Callable[[int], None]
    ) -> None:
        self.waiting: dict[int, None] = {}
        self.kept: set[int] = set()
        self._pool = pool
        self._history = history
        self._snapshots = SnapshotFolder(folder)
        self._lose = lose
        self._live = False
        self._requests: dict[int, list[Start | Advance]] = {}  # made of each running trial
        self._saves: set[int] = set()  # workers whose request must leave a snapshot
        self._held: dict[int, int] = {}  # by worker, the trial that it is at the state of
        self._stranded: set[int] = set()  # workers that couldn't be brought to their trial's

    def ask(self, worker: int, request: Start | Advance, save: bool = False) -> None:
        """Make a request of an idle worker's trial, which may have been another's before."""
        trial = self._history.running[worker]
        self._requests.setdefault(trial, []).append(request)
        self.waiting[worker] = None
        if save:
            self._saves.add(worker)
        else:
            self._saves.discard(worker)
        if self._live:
            self._submit(worker)

    def go_live(self) -> None:
        """Run from now on what is asked, and what isn't answered."""
        if not self._live:
            self._live = True
            for worker in self.waiting:
                self._submit(worker)

    def collect(self) -> tuple[int, Reply]:
        """Wait for the reply to the request that was made first.

        What a worker died of is asked once more; a second death ends the trial as FAILED.

        Raises:
            Paused: nothing can be written; the request is as good as never made.
        """
        worker, reply = self._next_reply()
        if reply.died:
            self._lose(worker)
            self._held.pop(worker, None)
            self._submit(worker)
            _, reply = self._next_reply(worker)
        if reply.died:
            reason = "its worker died twice in the same segment"
            reply = Reply(outcome=Outcome.FAILED, reason=reason)
        return worker, reply

    def answered(self, worker: int, trial: Trial, reply: Reply) -> None:
        """Take note of a reply that is in the journal, its trial as it stands after it."""
        del self.waiting[worker]
        if reply.outcome is not None:
            self.ended(trial)
        elif self._live and reply.snapshot is not None:
            self._snapshots.wrote(trial, reply.snapshot)

    def let_go(self, worker: int) -> None:
        """Tell a worker, if it has one, that its trial was ended for a pruner."""
        if self._held.pop(worker, None) is not None:
            self._runs(worker, End())

    def ended(self, trial: Trial) -> None:
        """Forget a trial, and keep the best one's last snapshot alone, which has its weights."""
        del self._requests[trial.id]
        improvements = self._history.improvements
        if trial.id in self.kept:
            self._snapshots.keep_only(trial.id, self._snapshots.newest(trial)[1])
        elif improvements and improvements[-1].trial == trial.id:
            if len(improvements) > 1:
                self._snapshots.keep_only(improvements[-2].trial)
            self._snapshots.keep_only(trial.id, self._snapshots.newest(trial)[1])
        else:
            self._snapshots.keep_only(trial.id)

    def drop(self, trial: int) -> None:
        """Delete the snapshot of an ended trial that was kept."""
        self.kept.discard(trial)
        self._snapshots.keep_only(trial)

    def save_weights(self, trial: Trial, folder: Path) -> bool:
        """Write an ended trial's model; False where its last snapshot is gone, or that fails.

        What another trial left in the folder is taken away, and what is there is complete.
        """
        part = folder.with_name(f"{folder.name}.part")
        for there in (folder, part):
            remove(there)
        segments, snapshot = self._snapshots.newest(trial)
        save = Save(str(snapshot), digest_of(trial), str(part))
        if segments < len(trial.segments) or not self._runs(0, save):
            remove(part)
            return False
        if part.exists():  # finished runs have no weights
            part.rename(folder)
        return True

    def clear_snapshots(self) -> None:
        """Delete all snapshots: no trial is open, and the best one's weights aren't asked for."""
        self._snapshots.clear()

    def _next_reply(self, worker: int | None = None) -> tuple[int, Reply]:
        """Wait for a reply: of that worker, else of the one that was asked first."""
        stranded = self._stranded if worker is None else self._stranded & {worker}
        if not stranded:
            return _not_stuck(*self._pool.collect(worker))
        first = min(stranded)
        self._stranded.discard(first)
        return first, Reply(died=True)

    def _submit(self, worker: int) -> None:
        """Hand a worker the last request made of its trial, after bringing it there."""
        trial = self._history.trials[self._history.running[worker]]
        *answered, request = self._requests[trial.id]
        if self._held.pop(worker, None) != trial.id and not self._rebuild(worker, trial, answered):
            self._stranded.add(worker)
            return
        self._held[worker] = trial.id
        if isinstance(request, Advance):
            facts = self._pool.facts
            trained = trial.trained_tokens + (request.tokens or facts.segment_tokens)
            last = request.last or trained >= facts.trial_tokens
            path = None  # nothing of a script can be saved
            if not facts.external:
                path = self._snapshots.next_path(trial, last or worker in self._saves)
            request = replace(request, snapshot=None if path is None else str(path))
        self._pool.submit(worker, request)

    def _rebuild(self, worker: int, trial: Trial, answered: Sequence[Start | Advance]) -> bool:
        """Bring a worker to where its trial stands; False where that failed.

        It takes up the newest snapshot, else the base weights, and runs again what came after.
        """
        if not answered:
            return True
        start, *advances = answered
        assert isinstance(start, Start)
        done, snapshot = self._snapshots.newest(trial)
        digest = digest_of(replace(trial, segments=trial.segments[:done]))
        taken_up = replace(start, snapshot=str(snapshot), digest=digest)
        if snapshot is None or not self._runs(worker, taken_up):
            done = 0
            if not self._runs(worker, start):
                return False
        for request in advances[done:]:
            self._lose(worker)
            if not self._runs(worker, request):
                return False
        return True

    def _runs(self, worker: int, request: Request) -> bool:
        self._pool.submit(worker, request)
        _, reply = self._pool.collect(worker)
        if not isinstance(request, Save):
            _not_stuck(worker, reply)
        return reply.outcome is None and not reply.died and not reply.stuck


def _not_stuck(worker: int, reply: Reply) -> tuple[int, Reply]:
    if reply.stuck:
        raise Paused(reply.stuck)
    return worker, reply
