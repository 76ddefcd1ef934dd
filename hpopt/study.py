"""A study from its settings to its result, and from its journal to its end."""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpopt_envs.environment import AGENT_SHAPE, HELD_SHAPE

from .confirmation import FIRST_TRIAL, confirm
from .display import Display
from .errors import StudyError
from .header import check_same, environment_settings, make_header
from .history import History
from .journal import Event, Journal
from .pool.base import Pool
from .pool.budget import Budget, Limits, active_seconds
from .pool.local import LocalPool
from .pool.metered import MeteredPool
from .pool.processes import ProcessPool
from .result import StudyResult, write_result
from .searchers import AgentSpec, find_agent, make_searcher
from .settings import Settings
from .tracking import Ending
from .tracking.client import TrackingProcess
from .tracking.reach import check_reachable

FACTORY = "hpopt_envs.factory:make_env"
JOURNAL = "journal.jsonl"


def search(settings: Settings, display: Display) -> StudyResult:
    """Run a new study.

    Raises:
        HpoptError: one line, where it can't begin; then nothing of it is left behind.
    """
    spec = find_agent(settings.agent, settings.pruner)
    check_reachable(settings.uri)
    name = settings.name or _new_name(settings)
    folder = Path(settings.runs) / name
    if (folder / JOURNAL).exists():
        raise StudyError(
            f"name: must be new, but {folder} exists; `python -m hpopt resume {name}` continues it"
        )
    fresh = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"runs: {folder} can't be made: {error.strerror}") from None
    environment = environment_settings(settings, spec)
    try:
        pool = _open_pool(settings, environment, folder)
        try:
            header = make_header(settings, name, environment, pool)
            journal = Journal.create(folder / JOURNAL, header)
        except BaseException:
            pool.close()
            raise
    except BaseException:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return _conduct(journal, pool, settings, spec, display)


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
    folder = Path(runs) / name
    if not (folder / JOURNAL).is_file():
        known = sorted(path.parent.name for path in Path(runs).glob(f"*/{JOURNAL}"))
        there = ", ".join(known[-5:]) or "none"
        raise StudyError(f"resume: {name!r} must be a study in {runs}/, but there: {there}")
    journal = Journal.open(folder / JOURNAL)
    try:
        header = journal.events[0]
        saved = {**header["settings"], "runs": runs}
        for event in journal.events:
            if event["event"] == "extended":
                saved |= event["settings"]
        settings = Settings.of({**saved, **changes})
        pool = _open_pool(settings, header["environment"], folder)
        try:
            check_same(header, pool)
        except BaseException:
            pool.close()
            raise
    except BaseException:
        journal.close()
        raise
    journal.events.append(journal.append({"event": "resumed"}))
    if changes:
        journal.events.append(journal.append({"event": "extended", "settings": dict(changes)}))
    return _conduct(journal, pool, settings, find_agent(settings.agent, settings.pruner), display)


def _conduct(
    journal: Journal, pool: Pool, settings: Settings, spec: AgentSpec, display: Display
) -> StudyResult:
    """Search, confirm, and write down what came of it."""
    header, folder = journal.events[0], journal.path.parent
    history = History()
    for event in journal.events:
        if event["event"] in ("study", "extended"):
            history.apply(event)
    searched, confirmed = split_events(journal.events)
    validates = spec.validates or settings.pruner != "none"
    budget = Budget(
        _limits(settings, pool),
        pool.facts,
        validates,
        confirmations=2 * settings.confirm_seeds,
        seconds_before=active_seconds(journal.events),
    )

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

    tracking = TrackingProcess(folder, settings.uri, header["experiment"], settings.tracking_level)
    tracking.start()
    ending: Ending = "failed"
    started = time.monotonic()
    try:
        display.begin(settings, header["name"], pool.facts, pool.space, history, budget, tracking)
        searcher = make_searcher(
            settings.agent,
            settings.pruner,
            trials=header["planned_trials"],
            seed=settings.seed,
            prior=settings.prior,
        )
        searching = metered(searched, 0)
        searcher.search(searching)
        if history.best is not None:
            searching.save_weights(history.best, folder / "best")
        confirmation = None
        if history.best is not None and settings.confirm_seeds:
            display.confirming(settings.confirm_seeds)
            confirming = metered(confirmed, FIRST_TRIAL + _earlier_tests(journal.events))
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
        ending = "finished"
    except KeyboardInterrupt:
        ending = "killed"
        raise
    finally:
        pool.close()
        journal.close()
        display.end()
        tracking_error = tracking.finish(ending)
    return dataclasses.replace(result, tracking_error=tracking_error)


def split_events(events: list[Event]) -> tuple[list[Event], list[Event]]:
    """Return what is to be lived through again of the search, and of the last confirmation.

    What a budget refused last, before the study was taken up again, is asked again.
    """
    searched: list[Event] = []
    confirmed: list[Event] = []
    for event in events[1:]:
        if event["event"] in ("resumed", "extended"):
            while searched and searched[-1]["event"] == "refused":
                searched.pop()
            if event["event"] == "extended":
                confirmed = []
        elif event.get("trial", 0) >= FIRST_TRIAL:
            confirmed.append(event)
        else:
            searched.append(event)
    return searched, confirmed


def _earlier_tests(events: list[Event]) -> int:
    """Number of confirmation trials before the study was last extended."""
    last = max((i for i, event in enumerate(events) if event["event"] == "extended"), default=0)
    return len({e["trial"] for e in events[:last] if e.get("trial", 0) >= FIRST_TRIAL})


def _open_pool(settings: Settings, environment: dict[str, Any], folder: Path) -> Pool:
    if settings.workers == 1:
        return LocalPool(FACTORY, environment)
    log = folder / "workers.log"
    return ProcessPool(FACTORY, environment, settings.workers, log, settings.in_order)


def _limits(settings: Settings, pool: Pool) -> Limits:
    target = settings.target
    if target is not None and pool.facts.maximize:
        target = -target
    return Limits(settings.trials, settings.cost, settings.time_limit, target)


def _new_name(settings: Settings) -> str:
    task = "".join(c if c.isalnum() else "-" for c in settings.task.rpartition(":")[2])
    stem = f"{task}-{settings.agent}-{settings.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    name, number = stem, 1
    while (Path(settings.runs) / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name
