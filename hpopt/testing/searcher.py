"""Whether a searcher is one that studies can be resumed and compared with."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpopt_envs.records import RunFacts, Trial

from ..record.history import History
from ..record.journal import read_events
from .references import reference_to
from .rehearsal import Killed, Rehearsal
from .requiring import checking, require, untouched_generators

KILLS = (0.25, 0.5, 0.75)  # of a study's events: where it is killed in the middle


def check_searcher(
    agent: str | type[Any],
    *,
    task: str = "simulated",
    trials: int = 6,
    workers: Sequence[int] = (1, 2),
    seed: int = 0,
) -> None:
    """Check a searcher in small studies, in this process and without MLflow.

    For each number of workers:

    - the search ends, and every trial that it started has ended then;
    - it asks `pool.can_start()` before each `pool.start`, starts nothing after a refusal, and has
      one request at a time outstanding on a worker;
    - a proposer numbers its proposals from 0, is reported segments in order and told once of each;
    - the values that it holds are native, legal, and those of all active hyperparameters;
    - the budget is kept, in trials and in token-equivalents, and the history is left to the pool;
    - the same seed decides the same again, whatever the state of the global generators of random,
      numpy and torch, which it leaves as they were;
    - another seed decides otherwise, where the plan's seed is asked for at all;
    - killed after any event, a study comes to the same trials when it is resumed;
    - with more trials a study that ended goes on, and what it did before stays.

    Args:
        agent: as `--agent` takes it: a name, "module:Class", with -cold and +PRUNER; or a class
            that stands at the top of its module. One that needs earlier studies can't be checked.
        task: that it searches on.
        trials: budget of the studies, at least 4.
        workers: how many trials run side by side, in each study.
        seed: of the studies.

    Raises:
        AssertionError: one line: what must hold, and what was got.
    """
    label = agent if isinstance(agent, str) else reference_to(agent)
    asked: dict[str, Any] = {"agent": label, "task": task, "trials": trials, "seed": seed}
    for count in workers:
        where = f"agent {label} with {count} worker{'s' if count > 1 else ''}"
        with tempfile.TemporaryDirectory() as folder, checking(where):
            _Check(Path(folder), asked, count, where).check()


@dataclass(frozen=True)
class _Check:
    """Studies of one agent, each in a folder of its own.

    Attributes:
        folder: for them.
        asked: settings.
        workers: of each.
        where: names the agent.
    """

    folder: Path
    asked: dict[str, Any]
    workers: int
    where: str

    def check(self) -> None:
        whole = self._study("whole").search()  # imports what it needs, which may draw
        with untouched_generators(self.where, seed=1):
            again = self._study("again").search()
        what = "the same seed must come to the same trials again"
        _check_same(again, whole, self.where, what)
        self._check_budget(whole.facts)
        self._check_another_seed(whole)
        self._check_resume(whole)
        self._check_extension()

    def _study(self, name: str, **settings: Any) -> Rehearsal:
        place = {"name": name, "runs": str(self.folder), "workers": self.workers}
        return Rehearsal({**self.asked, **place, **settings}, self.where)

    def _check_budget(self, facts: RunFacts) -> None:
        """Let half of what the trials cost be the limit; that on trials holds in every study."""
        trial = facts.trial_tokens * (facts.token_cost + facts.penalty_cost)
        trial += facts.segments * facts.validation_cost + facts.final_validation_cost
        limit = facts.setup_cost + self.asked["trials"] / 2 * trial
        self._study("cost", trials=None, cost=limit).search()

    def _check_another_seed(self, whole: History) -> None:
        study = self._study("other", seed=self.asked["seed"] + 1)
        other = study.search()
        if study.seed_was_asked_for:
            what = "another seed must decide otherwise, where the plan's seed is asked for"
            require(_decided(other) != _decided(whole), self.where, what, "the same")

    def _check_resume(self, whole: History) -> None:
        # Less the header, which is there before anything happens.
        events = len(list(read_events(self.folder / "whole" / "journal.jsonl"))) - 1
        middle = {round(share * events) for share in KILLS}
        for count in sorted({1, *middle, events - 1} & set(range(1, events))):
            name = f"killed-{count}"
            try:
                self._study(name).search(kill_after=count)
            except Killed:
                resumed = self._study(name).search()
                what = f"resumed after event {count} of {events}, it must come to the same trials"
                _check_same(resumed, whole, self.where, what)

    def _check_extension(self) -> None:
        trials = self.asked["trials"]
        before = self._study("extended", trials=trials // 2).search()
        after = self._study("extended").search(trials=trials)
        what = f"extended from {trials // 2} to {trials} trials, it must keep those that it had"
        _check_same(after, before, self.where, what, only=len(before.trials))


def _check_same(
    got: History, expected: History, where: str, what: str, only: int | None = None
) -> None:
    """Require that two studies came to the same trials; the first difference is told."""
    ours, theirs = list(map(_told, got.trials.values())), list(map(_told, expected.trials.values()))
    for number, (one, other) in enumerate(zip(ours[:only], theirs, strict=False)):
        if one != other:
            key = next(key for key in other if one[key] != other[key])
            got_there = f"another {key} in trial {number}: {one[key]}"
            require(False, where, f"{what}, {key}={other[key]}"[:300], got_there)
    counts = len(ours[:only]), len(theirs)
    require(counts[0] == counts[1], where, f"{what}, {counts[1]}", f"{counts[0]} trials")


def _told(trial: Trial) -> dict[str, str]:
    """Return everything about a trial but how long it took; NaN is the same as NaN."""
    told = {name: repr(value) for name, value in vars(trial).items() if name != "segments"}
    for segment in trial.segments:
        told |= {
            f"{name} of segment {segment.id}": repr(value)
            for name, value in vars(segment).items()
            if name != "wall_seconds"
        }
    return told


def _decided(history: History) -> list[Any]:
    """Return what trials were trained with."""
    return [[dict(s.hyperparameters) for s in t.segments] for t in history.trials.values()]
