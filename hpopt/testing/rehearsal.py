"""Small studies in this process, without MLflow and without a final, to be watched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hpopt_envs.worlds import SIMULATION, world_of

from ..pool.base import Pool
from ..pool.local import LocalPool
from ..pool.metered import MeteredPool
from ..record.folders import StudyFolder
from ..record.history import History
from ..record.journal import read_events
from ..record.lines import Event
from ..searchers.base import Proposer, Searcher, SearchPlan
from ..searchers.driver import ProposerSearcher
from ..searchers.registry import build_searcher
from ..settings.study import Settings
from ..study.conducting import split_events
from ..study.open_study import OpenStudy
from ..study.opening import begin, take_up
from .requiring import require
from .watching import WatchedPool, WatchedProposer

SEGMENTS = 4  # of a trial of the simulated task


class Killed(BaseException):
    """The end of a process, as far as its files are concerned."""


@dataclass(frozen=True)
class SeenPlan(SearchPlan):
    """A plan that knows whether its seed was asked for."""

    seen: list[str] = field(default_factory=list, compare=False)

    def __getattribute__(self, name: str) -> Any:
        if name == "seed":
            self.seen.append(name)
        return super().__getattribute__(name)


class Rehearsal:
    """A study that searches, is killed, resumed and extended, always watched.

    Args:
        said: settings by their flat names, "name" and "runs" among them.
        where: names the agent.

    Attributes:
        seed_was_asked_for: whether the searcher read the plan's seed.
    """

    def __init__(self, said: Mapping[str, Any], where: str) -> None:
        simulated = world_of(said["task"]) is SIMULATION
        small = {"trial_tokens": SEGMENTS * 4096} if simulated else {}
        self._settings = Settings.of({"confirm_seeds": 0, **small, **said})
        self._where = where
        self.seed_was_asked_for = False

    def search(self, *, kill_after: int | None = None, **changes: Any) -> History:
        """Begin the study, or take it up where it was begun before, and search to the end.

        Args:
            kill_after: how many new events the process outlives; None for all.
            **changes: extensions of the budget.

        Raises:
            Killed: it was killed.
            AssertionError: the searcher doesn't do as it must.
        """
        tracking = self._settings.tracking
        folder = StudyFolder(Path(tracking.runs) / str(tracking.name))
        if folder.has_begun:
            study = take_up(str(tracking.name), tracking.runs, changes, open_pool=_in_process)
        else:
            study = begin(self._settings, open_pool=_in_process)
        with study:
            return self._search(study, kill_after)

    def _search(self, study: OpenStudy, kill_after: int | None) -> History:
        history, left = History(), kill_after
        settled, searched, _ = split_events(study.journal.events)
        for event in settled:
            history.apply(event)

        def happens(event: Event) -> None:
            nonlocal left
            left = None if left is None else left - 1
            if left == 0:
                raise Killed

        budget = study.budget(history)
        metered = study.metered(history, budget, searched, watch=happens)
        pool = WatchedPool(metered, self._where)
        plan = SeenPlan(**vars(study.plan))
        plan.seen.clear()
        searcher = self._watched(build_searcher(plan))
        searcher.search(cast(MeteredPool, pool))
        self.seed_was_asked_for = bool(plan.seen)
        pool.check_end()
        self._check_budget(study, history)
        self._check_history(study, history)
        return history

    def _watched(self, searcher: Searcher) -> Searcher:
        """Watch the proposer too, where there is one."""
        if not isinstance(searcher, ProposerSearcher):
            return searcher
        build, loop, where = searcher.build, searcher.loop, self._where

        def watched_loop(proposer: Proposer, pool: MeteredPool) -> None:
            watched = WatchedProposer(proposer, pool.space, where)
            loop(watched, pool)
            watched.check_end()

        return ProposerSearcher(build, watched_loop)

    def _check_budget(self, study: OpenStudy, history: History) -> None:
        facts, limits = study.facts, study.settings.budget
        for trial in history.trials.values():
            most = facts.trial_tokens + facts.segment_tokens
            what = f"trial {trial.id} must end at its horizon of {facts.trial_tokens} tokens"
            require(trial.trained_tokens < most, self._where, what, trial.trained_tokens)
        if limits.trials is not None:
            most = limits.trials * facts.trial_tokens
            spent = history.training_tokens - history.overshoot_tokens
            what = f"must keep the budget of {limits.trials} trials, {most} tokens"
            require(spent <= most, self._where, what, spent)
        if limits.cost is not None:
            what = f"must keep the budget of {limits.cost:.0f} token-equivalents"
            require(history.search_cost <= limits.cost, self._where, what, history.search_cost)

    def _check_history(self, study: OpenStudy, history: History) -> None:
        folded = History()
        for event in read_events(study.journal.path):
            folded.apply(event)
        same = repr(folded.trials) == repr(history.trials) and folded.cost == history.cost
        what = "must leave pool.history to the pool"
        require(same, self._where, what, "another one than the journal's")


def _in_process(
    settings: Settings, environment: dict[str, Any], folder: StudyFolder, factory: str
) -> Pool:
    """Open a pool whose workers are all in this process."""
    return LocalPool(factory, environment, settings.machine.workers)
