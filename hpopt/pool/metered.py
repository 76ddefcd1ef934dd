"""The pool that searchers see: everything that runs through it is paid for and journaled once.

Resume is replay: a searcher that is built again from its seed makes the decisions it made before,
and gets its replies from the journal until that is exhausted. Then the study goes on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.messages import (
    Advance,
    Reply,
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
from ..record.history import History
from ..record.journal import Journal
from ..record.lines import Event
from .base import Pool
from .budget import Budget
from .enduring import EnduringPool
from .replay import Replay, journaled

FAILURES_AT_START = 3  # a study whose first trials all fail ends with their reason


class MeteredPool:
    """A pool with a budget and a journal, in the caller's thread.

    Args:
        pool: where trials run.
        journal: what happens is recorded there.
        history: what the study knows; this pool feeds it.
        budget: says whether a trial may start.
        seed: of the study; trial i has the same seed under every searcher.
        snapshots: folder for them.
        shape: hyperparameters that this searcher's trials have beside the space's.
        replay: events of an earlier process, to be lived through again first.
        first_trial: id of the first trial.
        watch: called with each event as it happens, not as it is replayed.

    Attributes:
        workers: the pool, as it goes on after a worker's death or the study's.
    """

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        history: History,
        budget: Budget,
        *,
        seed: int,
        snapshots: Path,
        shape: Mapping[str, Value],
        replay: Iterable[Event] = (),
        first_trial: int = 0,
        watch: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.size, self.space, self.facts = pool.size, pool.space, pool.facts
        self.seed = seed
        self.history = history
        self.budget = budget
        self.workers = EnduringPool(pool, history, snapshots, self._lose)
        self._journal = journal
        self._shape = dict(shape)
        self._replay = Replay(replay, history.apply)
        self._watch = watch
        self._next_trial = first_trial
        self._last_event = ""
        self._trained = history.best is not None  # some trial did, so others may fail
        self._failures = 0

    def can_start(self) -> bool:
        """Return whether the budget allows another whole trial, the dearest of the space."""
        return self._allowed(lambda: self.budget.allows(self.history))

    def can_run(self, runs: int) -> bool:
        """Return whether there is time for so many more runs of the final."""
        return self._allowed(lambda: self.budget.allows_round(self.history, runs))

    def _allowed(self, asked: Callable[[], bool]) -> bool:
        """Return what the budget says now, or said when the journal was written."""
        recorded = self._replay.allows()
        if recorded is not None:
            return recorded
        allowed = asked()
        if not allowed and self._last_event != "refused":
            self._record({"event": "refused"})
        return allowed

    def start(
        self,
        worker: int,
        *,
        initial: Sequence[float] | None = None,
        seed: int | None = None,
        tests: str | None = None,
    ) -> int:
        """Start a trial on an idle worker; its reply holds the first observation.

        Args:
            worker: where.
            initial: unit-cube point that relative moves start from; the default where None.
            seed: keys the trial's draws; follows from study and trial where None.
            tests: the name of the schedule that it tests, on the test split too; None for a trial
                of the search.

        Returns:
            The trial's id.
        """
        trial = self._next_trial
        self._next_trial += 1
        start = Start(
            trial=trial,
            seed=key(self.seed, "trial", trial) if seed is None else seed,
            initial=None if initial is None else tuple(initial),
            fixed=self._shape,
            test=tests is not None,
            entrant=tests or "",
            study=self._study_facts(None),
        )
        self._decide(worker, trial, start, before=replace(start, entrant="") if tests else None)
        return trial

    def advance(self, worker: int, action: Sequence[float], *, save: bool = False) -> None:
        """Train a segment of the worker's trial with an action of the environment's view.

        Args:
            worker: whose trial.
            action: in the view.
            save: write a snapshot after it, however large, since the trial may be paused there.
        """
        trial = self.history.running[worker]
        study = self._study_facts(self.history.trials[trial])
        self._decide(worker, trial, Advance(tuple(float(a) for a in action), study=study), save)

    def hold(self, worker: int, values: Mapping[str, Value], *, save: bool = False) -> None:
        """Train a whole segment of the worker's trial with a configuration.

        Args:
            worker: whose trial.
            values: native ones of all active hyperparameters; they are trained as they are.
            save: write a snapshot after it, however large, since the trial may be paused there.

        Raises:
            HpoptError: a value is missing, or of the wrong type, or the space hasn't its name.
        """
        if missing := sorted(self.space.snap(values).keys() - values.keys()):
            raise StudyError(f"agent: must hold every hyperparameter, but got no {missing[0]}")
        trial = self.history.running[worker]
        study = self._study_facts(self.history.trials[trial])
        whole = {**values, **self._shape, **self.facts.fixed, **values}
        # As journals before 0.3 have it: through the unit cube, where 0.1 can become 0.0999….
        before = Advance(absolute_action(self.space.encode(values)), study=study)
        self._decide(worker, trial, Advance(hyperparameters=whole, study=study), save, before)

    def train(self, worker: int, hyperparameters: Mapping[str, Value], **how: Any) -> None:
        """Train a segment of the worker's trial with given hyperparameters, all of them.

        Args:
            worker: whose trial.
            hyperparameters: native values; they needn't be in the space.
            **how: `tokens`, `probe`, `roll_back` and `last` of `hpopt_envs.messages.Advance`.
        """
        trial = self.history.running[worker]
        self._decide(worker, trial, Advance(hyperparameters=dict(hyperparameters), **how))

    def explain(self, trial: int, why: Mapping[str, Any]) -> None:
        """Put on record why a trial is trained as it is.

        Args:
            trial: its id.
            why: what JSON can carry: "text", a line, and what a page can draw.
        """
        self._happen({"event": "chosen", "trial": trial, "why": dict(why)})

    def close_trial(self, worker: int) -> None:
        """End the worker's trial for a pruner."""
        trial = self.history.running[worker]
        self._close({"event": "closed", "worker": worker, "trial": trial, "pruned": True})
        if self.facts.external:
            self.workers.let_go(worker)

    def pause(self, worker: int) -> None:
        """Set the worker's trial aside; it has a segment, and its last one asked to be saved."""
        trial = self.history.running[worker]
        self._happen({"event": "paused", "worker": worker, "trial": trial})
        self._trained = True

    def can_unpause(self, trial: int) -> bool:
        """Return whether the budget allows what is left of a paused trial.

        Where it does, `unpause` comes next: replay finds the answer in that.
        """
        recorded = self._replay.unpauses(trial)
        return self.budget.allows(self.history, trial) if recorded is None else recorded

    def unpause(self, worker: int, trial: int) -> None:
        """Take up a paused trial on an idle worker, whichever had it before; no reply follows."""
        self._happen({"event": "unpaused", "worker": worker, "trial": trial})

    def close_paused(self, trial: int) -> None:
        """End a paused trial for a pruner."""
        self._close({"event": "closed", "worker": None, "trial": trial, "pruned": True})

    def collect(self) -> tuple[int, Reply]:
        """Wait for the reply to the request that was made first.

        Raises:
            StudyError: the first trials all failed, or the journal tells another story.
        """
        recorded = self._replay.take_reply(self.workers.waiting)
        if recorded is None:
            self.workers.go_live()
            worker, reply = self.workers.collect()
            trial = self.history.running[worker]
            reply = self._journaled(worker, trial, reply)
        else:
            worker, trial = recorded["worker"], recorded["trial"]
            reply = reply_from_json(recorded["reply"])
        self.workers.answered(worker, self.history.trials[trial], reply)
        if reply.outcome is not None:
            # A finished run that a table lacks is a failed trial too, but it has tokens.
            self._trained |= reply.segment is not None and reply.segment.tokens > 0
            self._check_failures(self.history.trials[trial])
        return worker, reply

    @property
    def trials(self) -> list[Trial]:
        """The search's trials in the order of their start, running ones included."""
        tests = self.history.tests
        return [trial for trial in self.history.trials.values() if trial.id not in tests]

    def _happen(self, event: Event) -> None:
        """Journal a decision that runs nothing, or find it in the journal."""
        if self._replay.take(event) is None:
            self._record(event)

    def _close(self, event: Event) -> None:
        self._happen(event)
        ended = self.history.trials[event["trial"]]
        self.workers.ended(ended)
        self._check_failures(ended)

    def _decide(
        self,
        worker: int,
        trial: int,
        request: Start | Advance,
        save: bool = False,
        before: Start | Advance | None = None,
    ) -> None:
        """Journal a request and make it, or find it in the journal, maybe in its form of before."""
        event, *others = (
            {"event": "decision", "worker": worker, "trial": trial, "request": journaled(form)}
            for form in (request, before)
            if form is not None
        )
        recorded = self._replay.take(event, *others)
        if recorded is None:
            self.workers.go_live()
            self._record(event)
            self.workers.ask(worker, request, save)
        else:
            # What the study knew then is part of the request: it is in what comes of it.
            asked = request_from_json(recorded["request"])
            assert isinstance(asked, Start | Advance)
            self.workers.ask(worker, asked, save)

    def _journaled(self, worker: int, trial: int, reply: Reply) -> Reply:
        if reply.segment is not None:
            cost = self.history.cost + reply.segment.cost
            reply = replace(reply, segment=replace(reply.segment, study_cost=cost))
        elif reply.outcome is not None:
            # What raised is charged in full, so that a study of nothing but failures ends too.
            self._lose(worker, self.facts.segment_tokens)
        event = {"event": "reply", "worker": worker, "trial": trial, "reply": to_json(reply)}
        self._record(event)
        return reply

    def _lose(self, worker: int, tokens: int = 0) -> None:
        """Charge a segment that came to nothing, the dearest of the space."""
        event = {"event": "lost", "worker": worker, "trial": self.history.running[worker]}
        self._record(event | {"cost": self.budget.lost_cost(self.history), "tokens": tokens})

    def _record(self, event: Event) -> None:
        event = self._journal.append(event)
        self.history.apply(event)
        self._last_event = event["event"]
        self._watch(event)

    def _study_facts(self, trial: Trial | None) -> StudyFacts:
        facts, best = self.facts, self.history.best
        gain = 0.0 if best is None or best.value is None else facts.base_objective - best.value
        rank = 0.0 if trial is None else self.history.rank(trial)
        return StudyFacts(self.budget.left(self.history), gain / facts.objective_scale, rank)

    def _check_failures(self, ended: Trial) -> None:
        self._trained |= ended.outcome is not Outcome.FAILED
        self._failures += 1
        if not self._trained and self._failures == FAILURES_AT_START:
            raise StudyError(
                f"trials must train, but the first {self._failures} failed: {ended.reason}"
            )
