"""A study from its settings to its result, and from its journal to its end."""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpopt_envs.training.schedules import AGENT_SHAPE, HELD_SHAPE

from .confirmation import confirm
from .display import Display
from .errors import StudyError
from .folders import JOURNAL, check_writable, find_study, new_folder
from .header import check_same, check_versions, environment_settings, make_header
from .history import FIRST_TEST, History
from .journal import Event, Journal
from .pool.base import Pool
from .pool.budget import Budget, Limits, active_seconds
from .pool.local import LocalPool
from .pool.metered import MeteredPool
from .pool.processes import ProcessPool
from .portfolio import read_sources
from .result import StudyResult, write_result
from .searchers import check_space, choose_agent, find_agent, make_searcher
from .settings import EXTENSIBLE, Settings
from .tracking import Ending
from .tracking.client import TrackingProcess
from .tracking.reach import check_reachable

FACTORY = "hpopt_envs.factory:make_env"


def search(settings: Settings, display: Display) -> StudyResult:
    """Run a new study.

    Raises:
        HpoptError: one line, where it can't begin; then nothing of it is left behind.
    """
    find_agent(choose_agent(settings.agent, settings.pruner), settings.pruner)
    check_writable(Path(settings.runs), "runs:")
    check_reachable(settings.uri)
    journal, pool = begin(settings)
    return _recorded(journal, pool, settings, display)


def resume(name: str, runs: str, changes: Mapping[str, Any], display: Display) -> StudyResult:
    """Go on with a study that was cut off, or extend one that ended.

    Args:
        name: of the study.
        runs: folder that studies are kept in.
        changes: new limits ("trials", "cost", "time_limit"); the searcher keeps the settings of
            its first budget.
        display: shows what happens.

    Raises:
        HpoptError: one line, where it can't go on; its journal stays as it was.
    """
    journal, pool, settings = take_up(name, runs, changes)
    return _recorded(journal, pool, settings, display)


def begin(
    settings: Settings, about: Mapping[str, Any] | None = None, factory: str = FACTORY
) -> tuple[Journal, Pool]:
    """Open the journal and the workers of a new study.

    Args:
        settings: of the study.
        about: what its header says beside them.
        factory: "module:function" that makes its environments.

    Raises:
        HpoptError: one line, where it can't begin; then nothing of it is left behind.
    """
    spec = find_agent(choose_agent(settings.agent, settings.pruner), settings.pruner)
    environment = environment_settings(settings, spec)
    sources = read_sources(settings)
    with new_folder(settings) as folder:
        pool = _open_pool(settings, environment, folder, factory)
        try:
            space, has_probe = pool.space, pool.facts.has_probe
            agent = choose_agent(settings.agent, settings.pruner, space, has_probe)
            settings = dataclasses.replace(settings, agent=agent)
            check_space(agent, space, has_probe)
            _make_budget(settings, pool).check_first_trial()
            header = make_header(settings, folder.name, environment, pool, sources)
            header |= dict(about or {})
            return Journal.create(folder / JOURNAL, header), pool
        except BaseException:
            pool.close()
            raise


def take_up(
    name: str, runs: str, changes: Mapping[str, Any], factory: str = FACTORY
) -> tuple[Journal, Pool, Settings]:
    """Open the journal and the workers of an earlier study, see `resume`.

    Raises:
        HpoptError: one line, where it can't go on; its journal stays as it was.
    """
    folder = find_study(name, runs)
    for setting in changes:
        if setting not in EXTENSIBLE:
            raise StudyError(
                f"resume: may change {', '.join(EXTENSIBLE)} alone, but got {setting!r}"
            )
    journal = Journal.open(folder / JOURNAL)
    try:
        header = journal.events[0]
        check_versions(header)
        saved = {**header["settings"], "runs": runs}
        for event in journal.events:
            if event["event"] == "extended":
                saved |= event["settings"]
        new = {setting: value for setting, value in changes.items() if saved[setting] != value}
        settings = Settings.of({**saved, **new})
        pool = _open_pool(settings, header["environment"], folder, factory)
        try:
            check_same(header, pool)
            if new:
                journal.events.append(journal.append({"event": "extended", "settings": new}))
        except BaseException:
            pool.close()
            raise
    except BaseException:
        journal.close()
        raise
    return journal, pool, settings


def _recorded(journal: Journal, pool: Pool, settings: Settings, display: Display) -> StudyResult:
    """Conduct a study while a process of its own writes its journal to MLflow."""
    folder, experiment = journal.path.parent, journal.events[0]["experiment"]
    tracking = TrackingProcess(folder, settings.uri, experiment, settings.tracking_level)
    tracking.start()
    ending: Ending = "failed"
    try:
        result = conduct(journal, pool, settings, display, tracking)
        ending = "finished"
    except KeyboardInterrupt:
        ending = "killed"
        raise
    finally:
        tracking_error = tracking.finish(ending)
    return dataclasses.replace(result, tracking_error=tracking_error)


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
    header, folder = journal.events[0], journal.path.parent
    settings = dataclasses.replace(settings, agent=header["agent"])
    history, started = History(), time.monotonic()
    settled, searched, confirmed = split_events(journal.events)
    for event in settled:
        history.apply(event)
    budget = _make_budget(
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
            folder=folder,
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
                searching.workers.save_weights(history.best, folder / "best")
            if settings.confirm_seeds:
                display.confirming(settings.confirm_seeds)
                confirming = metered(confirmed, first_test)
                confirmation = confirm(confirming, history.best, settings.confirm_seeds)
        result = StudyResult(
            name=header["name"],
            folder=folder,
            history=history,
            space=pool.space,
            confirmation=confirmation,
            wall_seconds=time.monotonic() - started,
        )
        write_result(result, settings)
        if not keeps_weights:
            shutil.rmtree(folder / "snapshots", ignore_errors=True)
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


def _open_pool(settings: Settings, environment: dict[str, Any], folder: Path, factory: str) -> Pool:
    if settings.workers == 1:
        return LocalPool(factory, environment)
    log = folder / "workers.log"
    return ProcessPool(factory, environment, settings.workers, log, settings.in_order)


def _make_budget(
    settings: Settings, pool: Pool, *, seconds_before: float = 0.0, cost_before: float = 0.0
) -> Budget:
    target = settings.target
    if target is not None and pool.facts.maximize:
        target = -target
    spec = find_agent(settings.agent, settings.pruner)
    return Budget(
        Limits(settings.trials, settings.cost, settings.time_limit, target),
        pool.facts,
        validate_segments=spec.validates or settings.pruner != "none",
        confirmations=2 * settings.confirm_seeds,
        seconds_before=seconds_before,
        cost_before=cost_before,
    )
