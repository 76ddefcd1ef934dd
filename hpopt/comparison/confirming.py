"""The best of each searcher on a task, judged alike: fresh seeds, the test split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..pool.budget import Budget, Limits
from ..record.folders import StudyFolder
from ..record.history import FIRST_TEST, History
from ..record.judged import Judged, judged
from ..record.schedule import Schedule
from ..settings.study import Settings
from ..study.fresh_seeds import Job, run_jobs
from ..study.opening import open_study


def confirm_best(
    settings: Settings,
    about: Mapping[str, Any],
    best: Mapping[str, str],
    seeds: int,
    factory: str,
) -> None:
    """Run the best schedule of each searcher; what comes of it is in a journal of its own.

    Args:
        settings: of that journal's study.
        about: for its header.
        best: name of the study with the best trial, by searcher.
        seeds: fresh ones.
        factory: of environments.
    """
    found = best_schedules(best, settings.tracking.runs)
    schedules = distinct(found)
    whose = {who: schedules.index(schedule) for who, schedule in found.items()}
    named = [
        f"best of {', '.join(who for who, place in whose.items() if place == k)}"
        for k in range(len(schedules))
    ]
    jobs = [
        Job(name, schedule, seed)
        for name, schedule in zip(named, schedules, strict=True)
        for seed in range(seeds)
    ]
    with open_study(settings, {**about, "confirms": named}, factory) as study:
        header, *replay = (e for e in study.journal.events if e["event"] != "resumed")
        history = History()
        history.apply(header)
        unlimited = Budget(Limits(), study.facts, validate_segments=False)
        pool = study.metered(history, unlimited, replay, first_trial=FIRST_TEST)
        run_jobs(pool, jobs)
        pool.workers.clear_snapshots()


def best_schedules(best: Mapping[str, str], runs: str) -> dict[str, Schedule]:
    """Return the schedule of the best trial of each searcher's best study."""
    found = {}
    for searcher, study in best.items():
        history = StudyFolder.find(study, runs, "compare").read()
        assert history.best is not None
        found[searcher] = Schedule.of(history.best, history.facts)
    return found


def distinct(found: Mapping[str, Schedule]) -> list[Schedule]:
    """Return schedules in order, equal ones once: searchers often share their best."""
    schedules: list[Schedule] = []
    for schedule in found.values():
        if schedule not in schedules:
            schedules.append(schedule)
    return schedules


def read_judged(
    name: str, runs: str, best: Mapping[str, str], seeds: int
) -> dict[str, Judged] | None:
    """Return what `confirm_best` came to, by searcher; None where it isn't complete."""
    folder = StudyFolder(Path(runs) / name)
    if not folder.has_begun:
        return None
    schedules_of = best_schedules(best, runs)
    schedules = distinct(schedules_of)
    history = folder.read()
    ended = [trial for trial in history.trials.values() if trial.outcome is not None]
    if len(ended) < len(schedules) * seeds:
        return None
    of_schedule = [judged(ended[k * seeds : (k + 1) * seeds]) for k in range(len(schedules))]
    return {who: of_schedule[schedules.index(one)] for who, one in schedules_of.items()}
