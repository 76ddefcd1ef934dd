"""Searching, confirming, and writing down what came of it; replay included."""

import dataclasses
import shutil
import time

from hpopt_envs.schedules import AGENT_SHAPE, HELD_SHAPE

from ..pool.base import Pool
from ..pool.budget import active_seconds
from ..pool.metered import MeteredPool
from ..record.folders import StudyFolder
from ..record.history import FIRST_TEST, History
from ..record.journal import Event, Journal
from ..searchers.registry import find_agent, make_searcher
from ..settings.study import Settings
from ..tracking.client import TrackingProcess
from .confirmation import confirm
from .display import Display
from .opening import make_budget
from .result import StudyResult, write_result


def conduct(
    journal: Journal,
    pool: Pool,
    settings: Settings,
    display: Display,
    tracking: TrackingProcess | None = None,
    *,
    keeps_weights: bool = True,
) -> StudyResult:
    """Search, confirm, and write down what came of it; closes the journal and the pool.

    Args:
        journal: of the study; what is in it is lived through again.
        pool: where trials run.
        settings: extensions included.
        display: shows what happens.
        tracking: whose state is shown; it is started and ended elsewhere.
        keeps_weights: whether the winner's weights are written, and its snapshot stays.
    """
    header, folder = journal.events[0], StudyFolder(journal.path.parent)
    settings = dataclasses.replace(settings, agent=header["agent"])
    history, started = History(), time.monotonic()
    settled, searched, confirmed = split_events(journal.events)
    for event in settled:
        history.apply(event)
    budget = make_budget(
        settings,
        pool,
        seconds_before=active_seconds(journal.events),
        cost_before=history.cost - history.search_cost,
    )
    spec = find_agent(settings.agent, settings.pruner)

    def metered(replay: list[Event], first_trial: int) -> MeteredPool:
        return MeteredPool(
            pool,
            journal,
            history,
            budget,
            seed=settings.seed,
            snapshots=folder.snapshots,
            shape=HELD_SHAPE if spec.holds else AGENT_SHAPE,
            replay=replay,
            first_trial=first_trial,
            watch=display.event,
        )

    try:
        display.begin(settings, header["name"], pool.facts, pool.space, history, budget, tracking)
        searcher = make_searcher(
            settings.agent,
            settings.pruner,
            trials=header["planned_trials"],
            seed=settings.seed,
            prior=settings.prior,
            portfolio=header.get("portfolio", ()),
        )
        first_test = FIRST_TEST + len(history.tests)
        searching = metered(searched, 0)
        searcher.search(searching)
        confirmation = None
        if history.best is not None:
            if keeps_weights:
                searching.workers.save_weights(history.best, folder.best)
            if settings.confirm_seeds:
                display.confirming(settings.confirm_seeds)
                confirming = metered(confirmed, first_test)
                confirmation = confirm(confirming, history.best, settings.confirm_seeds)
        result = StudyResult(
            name=header["name"],
            folder=folder.path,
            history=history,
            space=pool.space,
            confirmation=confirmation,
            wall_seconds=time.monotonic() - started,
        )
        write_result(result, settings)
        if not keeps_weights:
            shutil.rmtree(folder.snapshots, ignore_errors=True)
        return result
    finally:
        pool.close()
        journal.close()
        display.end()


def split_events(events: list[Event]) -> tuple[list[Event], list[Event], list[Event]]:
    """Divide a journal by how a process that takes the study up lives through it again.

    Returns:
        What is only taken note of: the study, extensions, and confirmations before them; what is
        to be replayed of the search; and of the confirmation.
    """
    settled: list[Event] = []
    searched: list[Event] = []
    confirmed: list[Event] = []
    for event in events:
        if event["event"] in ("study", "resumed"):
            settled.append(event)
        elif event["event"] == "extended":
            while searched and searched[-1]["event"] == "refused":
                searched.pop()  # the budget of now is asked again
            settled += [*confirmed, event]
            confirmed = []
        elif event.get("trial", 0) >= FIRST_TEST:
            confirmed.append(event)
        else:
            searched.append(event)
    return settled, searched, confirmed
