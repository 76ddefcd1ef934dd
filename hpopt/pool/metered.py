"""The pool that searchers see: everything that runs through it is paid for and journaled once.

Resume is replay: a searcher that is built again from its seed makes the decisions it made before,
and gets its replies from the journal until that is exhausted. Then each running trial is rebuilt
in a worker, from its snapshot or by running its recorded actions again, and the study goes on.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpopt_envs.messages import (
    Advance,
    Reply,
    Save,
    Start,
    StudyFacts,
    reply_from_json,
    request_from_json,
    to_json,
)
from hpopt_envs.randomness import key
from hpopt_envs.records import Outcome, Trial
from hpopt_search_spaces import Value

from ..errors import StudyError
from ..history import History
from ..journal import Event, Journal
from .base import Pool
from .budget import Budget
from .replay import Replay
from .snapshots import SnapshotFolder

FAILURES_AT_START = 3  # a study whose first trials all fail ends with their reason


class MeteredPool:
    """A pool with a budget and a journal, in the caller's thread.

    Args:
        pool: where trials run.
        journal: what happens is recorded there.
        history: what the study knows; this pool feeds it.
        budget: says whether a trial may start.
        seed: of the study; trial i has the same seed under every searcher.
        folder: of the study.
        shape: hyperparameters that this searcher's trials have beside the space's.
        replay: events of an earlier process, to be lived through again first.
        first_trial: id of the first trial.
        watch: called with each event as it happens, not as it is replayed.
    """

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        history: History,
        budget: Budget,
        *,
        seed: int,
        folder: Path,
        shape: Mapping[str, Value],
        replay: Iterable[Event] = (),
        first_trial: int = 0,
        watch: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.size, self.space, self.facts = pool.size, pool.space, pool.facts
        self.seed = seed
        self.history = history
        self.budget = budget
        self._pool = pool
        self._journal = journal
        self._shape = dict(shape)
        self._snapshots = SnapshotFolder(folder / "snapshots")
        self._replay = Replay(replay, history.apply)
        self._live = not self._replay
        self._watch = watch
        self._next_trial = first_trial
        self._pending: dict[int, tuple[int, Start | Advance]] = {}
        self._requests: dict[int, list[Start | Advance]] = {}  # of running trials, those replied to
        self._objectives: dict[int, list[float]] = {}  # of ended trials by segment, sorted

    def can_start(self) -> bool:
        """Whether the budget allows another whole trial, the dearest of the space."""
        if self._replay:
            return not self._replay.refuses()
        running = [self.history.trials[trial] for trial in self.history.running.values()]
        allowed = self.budget.allows(self.history, running)
        if not allowed:
            self._record({"event": "refused"})
        return allowed

    def start(
        self,
        worker: int,
        *,
        initial: Sequence[float] | None = None,
        shape: Mapping[str, Value] | None = None,
        seed: int | None = None,
        test: bool = False,
    ) -> int:
        """Start a trial on an idle worker; its reply holds the first observation.

        Args:
            worker: where.
            initial: unit-cube point that relative moves start from; the default where None.
            shape: hyperparameters beside the space's; the searcher's where None.
            seed: keys the trial's draws; follows from study and trial where None.
            test: judge its end on the test split.

        Returns:
            The trial's id.
        """
        trial = self._next_trial
        self._next_trial += 1
        start = Start(
            trial=trial,
            seed=key(self.seed, "trial", trial) if seed is None else seed,
            initial=None if initial is None else tuple(initial),
            fixed=self._shape if shape is None else dict(shape),
            test=test,
            study=self._study_facts(None),
        )
        self._requests[trial] = []
        self._decide(worker, trial, start)
        return trial

    def advance(self, worker: int, action: Sequence[float]) -> None:
        """Train a segment of the worker's trial with an action of the environment's view."""
        trial = self.history.running[worker]
        study = self._study_facts(self.history.trials[trial])
        self._decide(worker, trial, Advance(tuple(float(a) for a in action), study=study))

    def replay_segment(self, worker: int, hyperparameters: Mapping[str, Value], last: bool) -> None:
        """Train a segment of a schedule, open loop; `last` ends its trial."""
        trial = self.history.running[worker]
        self._decide(worker, trial, Advance(hyperparameters=dict(hyperparameters), last=last))

    def close_trial(self, worker: int) -> None:
        """End the worker's trial for a pruner."""
        trial = self.history.running[worker]
        event = {"event": "closed", "worker": worker, "trial": trial, "pruned": True}
        if self._replay:
            self._replay.take(event)
        else:
            self._go_live()
            self._record(event)
        self._ended(trial)

    def collect(self) -> tuple[int, Reply]:
        """Wait for the reply to the request that was made first.

        Raises:
            StudyError: the first trials all failed, or the journal tells another story.
        """
        recorded = self._replay.take_reply(self._pending) if self._replay else None
        if recorded is not None:
            worker, reply = recorded["worker"], reply_from_json(recorded["reply"])
        else:
            self._go_live()
            worker, reply = self._pool.collect()
            if reply.died:
                reply = self._again(worker)
            reply = self._journaled(worker, reply)
        trial, request = self._pending.pop(worker)
        self._requests[trial].append(request)
        if reply.outcome is not None:
            self._ended(trial)
        elif reply.snapshot is not None and recorded is None:
            self._snapshots.wrote(self.history.trials[trial], reply.snapshot)
        return worker, reply

    def save_weights(self, trial: Trial, folder: Path) -> bool:
        """Write an ended trial's model; False where its snapshot isn't there any more."""
        snapshot = self._snapshots.find(trial)
        if snapshot is None:
            return False
        self._pool.submit(0, Save(str(snapshot), str(folder)))
        return self._pool.collect(0)[1].outcome is None

    def worst_value(self) -> float:
        """The worst value so far, as minimised, else the base's: what a failure is told as."""
        values = [trial.value for trial in self.trials if trial.value is not None]
        return max(values, default=self.facts.base_objective)

    @property
    def trials(self) -> list[Trial]:
        """The search's trials in the order of their start, running ones included."""
        tests = self.history.tests
        return [trial for trial in self.history.trials.values() if trial.id not in tests]

    def _decide(self, worker: int, trial: int, request: Start | Advance) -> None:
        plain = {name: v for name, v in to_json(request).items() if name != "snapshot"}
        event = {"event": "decision", "worker": worker, "trial": trial, "request": plain}
        if self._replay:
            recorded = request_from_json(self._replay.take(event)["request"])
            assert not isinstance(recorded, Save)
            self._pending[worker] = trial, recorded
            return
        self._go_live()
        self._record(event)
        self._pending[worker] = trial, request
        self._submit(worker)

    def _journaled(self, worker: int, reply: Reply) -> Reply:
        trial = self._pending[worker][0]
        if reply.segment is not None:
            cost = self.history.cost + reply.segment.cost
            reply = replace(reply, segment=replace(reply.segment, study_cost=cost))
        elif reply.outcome is not None:
            # What raised is charged in full, so that a study of nothing but failures ends too.
            self._lose(worker, self.facts.segment_tokens)
        event = {"event": "reply", "worker": worker, "trial": trial, "reply": to_json(reply)}
        self._record(event)
        return reply

    def _lose(self, worker: int, tokens: int) -> None:
        event = {"event": "lost", "worker": worker, "trial": self._pending[worker][0]}
        self._record(event | {"cost": self.budget.segment_cost, "tokens": tokens})

    def _record(self, event: Event) -> None:
        event = self._journal.append(event)
        self.history.apply(event)
        self._watch(event)

    def _study_facts(self, trial: Trial | None) -> StudyFacts:
        facts, best = self.facts, self.history.best
        gain = 0.0 if best is None or best.value is None else facts.base_objective - best.value
        rank = 0.0
        if trial is not None and trial.segments and trial.segments[-1].objective is not None:
            others = self._objectives.get(trial.segments[-1].id, [])
            if others:
                rank = bisect_left(others, trial.segments[-1].objective) / len(others)
        return StudyFacts(self.budget.left(self.history), gain / facts.objective_scale, rank)

    def _ended(self, trial_id: int) -> None:
        trial = self.history.trials[trial_id]
        del self._requests[trial_id]
        for segment in trial.segments:
            if segment.objective is not None:
                insort(self._objectives.setdefault(segment.id, []), segment.objective)
        if self._live:
            self._clear_snapshots(trial)
        ended = [t for t in self.trials if t.outcome is not None]
        if len(ended) == FAILURES_AT_START and all(t.outcome is Outcome.FAILED for t in ended):
            raise StudyError(
                f"trials must train, but the first {len(ended)} failed: {trial.reason}"
            )

    def _clear_snapshots(self, trial: Trial) -> None:
        """Keep the best trial's last snapshot alone, from which its weights are written."""
        improvements = self.history.improvements
        if improvements and improvements[-1].trial == trial.id:
            if len(improvements) > 1:
                self._snapshots.keep_only(improvements[-2].trial)
            self._snapshots.keep_only(trial.id, self._snapshots.find(trial))
        else:
            self._snapshots.keep_only(trial.id)

    def _submit(self, worker: int) -> None:
        trial, request = self._pending[worker]
        if isinstance(request, Advance):
            record = self.history.trials[trial]
            last = len(record.segments) + 1 == self.facts.segments
            path = self._snapshots.next_path(record, last)
            request = replace(request, snapshot=None if path is None else str(path))
        self._pool.submit(worker, request)

    def _go_live(self) -> None:
        """Once the journal is exhausted: rebuild what was running, and ask what was asked."""
        if self._live:
            return
        self._live = True
        for worker, trial in sorted(self.history.running.items()):
            if self._requests[trial]:
                self._rebuild(worker, trial)
        for worker in self._pending:
            self._submit(worker)

    def _rebuild(self, worker: int, trial: int) -> bool:
        """Bring a worker to where its trial stands; False where that failed too."""
        start, *advances = self._requests[trial]
        assert isinstance(start, Start)
        snapshot = self._snapshots.find(self.history.trials[trial])
        if snapshot is not None and self._ask(worker, replace(start, snapshot=str(snapshot))):
            return True
        for number, request in enumerate((start, *advances)):
            if number:
                self._record(
                    {"event": "lost", "worker": worker, "trial": trial}
                    | {"cost": self.budget.segment_cost, "tokens": 0}
                )
            if not self._ask(worker, request):
                return False
        return True

    def _ask(self, worker: int, request: Start | Advance) -> bool:
        self._pool.submit(worker, request)
        reply = self._pool.collect(worker)[1]
        return reply.outcome is None and not reply.died

    def _again(self, worker: int) -> Reply:
        """Ask once more what a worker died of; a second death ends its trial."""
        self._lose(worker, tokens=0)
        trial, request = self._pending[worker]
        if isinstance(request, Start) or self._rebuild(worker, trial):
            self._submit(worker)
            reply = self._pool.collect(worker)[1]
            if not reply.died:
                return reply
        return Reply(outcome=Outcome.FAILED, reason="its worker died twice in the same segment")
