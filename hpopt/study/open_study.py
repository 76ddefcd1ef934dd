"""A study that is open: its journal is ours alone, and its workers are up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from hpopt_envs.records import RunFacts
from hpopt_search_spaces import SearchSpace

from ..pool.base import Pool
from ..pool.budget import Budget, FinalPlan, Limits, active_seconds
from ..pool.metered import MeteredPool
from ..record.folders import StudyFolder
from ..record.history import History
from ..record.journal import Journal
from ..record.lines import Event
from ..searchers.base import AgentSpec, SearchPlan
from ..searchers.registry import find_agent
from ..settings.study import Settings
from .header import agent_of


@dataclass(frozen=True)
class OpenStudy:
    """A study from its opening to its end; leaving its block closes journal and workers.

    Attributes:
        journal: of the study, locked.
        pool: where trials run.
        settings: extensions included.
    """

    journal: Journal
    pool: Pool
    settings: Settings

    def __enter__(self) -> "OpenStudy":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.pool.close()
        finally:
            self.journal.close()

    @property
    def header(self) -> Event:
        """The study's first event."""
        return self.journal.events[0]

    @property
    def name(self) -> str:
        """The study's."""
        return str(self.header["name"])

    @property
    def agent(self) -> str:
        """Who decides; where that was left to us, who was chosen."""
        return agent_of(self.header)

    @property
    def spec(self) -> AgentSpec:
        """What is known of the searcher."""
        return find_agent(self.agent, self.settings.searcher.pruner)

    @property
    def plan(self) -> SearchPlan:
        """What the searcher is built from."""
        asked, portfolio = self.settings.searcher, tuple(self.header.get("portfolio", ()))
        trials: int = self.header["planned_trials"]
        return SearchPlan(
            self.agent,
            asked.pruner,
            trials,
            asked.seed,
            asked.prior,
            portfolio,
            int(self.header["versions"]["observation"]),
            asked.policy or "",
            # Studies of before there was a limit go on with a fifth, however many that are.
            self.header.get("startup_limit", trials),
        )

    @property
    def folder(self) -> StudyFolder:
        """The study's."""
        return StudyFolder(self.journal.path.parent)

    @property
    def facts(self) -> RunFacts:
        """Of the training run."""
        return self.pool.facts

    @property
    def space(self) -> SearchSpace:
        """Resolved."""
        return self.pool.space

    def budget(self, history: History) -> Budget:
        """Return what may still be spent.

        Args:
            history: of what is settled, see `split_events`.
        """
        return make_budget(
            self.settings,
            self.spec,
            self.facts,
            seconds_before=active_seconds(self.journal.events),
            cost_before=history.cost - history.search_cost,
        )

    def metered(
        self,
        history: History,
        budget: Budget,
        replay: Sequence[Event],
        *,
        first_trial: int = 0,
        watch: Callable[[Event], None] = lambda event: None,
    ) -> MeteredPool:
        """Return the pool that a searcher sees.

        Args:
            history: what the study knows; the pool feeds it.
            budget: what may be spent.
            replay: events of an earlier process, to be lived through again first.
            first_trial: id of the first trial.
            watch: called with each event as it happens, not as it is replayed.
        """
        return MeteredPool(
            self.pool,
            self.journal,
            history,
            budget,
            seed=self.settings.searcher.seed,
            snapshots=self.folder.snapshots,
            shape=self.spec.shape,
            replay=replay,
            first_trial=first_trial,
            watch=watch,
        )


def make_budget(
    settings: Settings,
    spec: AgentSpec,
    facts: RunFacts,
    *,
    seconds_before: float = 0.0,
    cost_before: float = 0.0,
) -> Budget:
    """Return the budget of a study's settings, see `Budget`."""
    asked = settings.budget
    target = asked.target
    if target is not None and facts.maximize:
        target = -target
    return Budget(
        Limits(asked.trials, asked.cost, asked.time_limit, target),
        facts,
        validate_segments=spec.validates,
        final=final_plan(settings),
        seconds_before=seconds_before,
        cost_before=cost_before,
    )


def final_plan(settings: Settings) -> FinalPlan:
    """Return what a study sets aside for its final."""
    return FinalPlan(
        entrants=settings.budget.finalists + 1 + bool(settings.environment.baseline),
        seeds=settings.confirm_seeds,
        share=settings.final_share,
        workers=settings.machine.workers,
    )
