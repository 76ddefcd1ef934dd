"""The best of each searcher on a task, judged alike: fresh seeds, the test split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpopt_envs.records import Trial

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
    trials = best_trials(best, settings.tracking.runs)
    schedules = distinct_schedules(trials)
    whose = {who: schedules.index(Schedule.of(trial)) for who, trial in trials.items()}
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


def best_trials(best: Mapping[str, str], runs: str) -> dict[str, Trial]:
    """Return the best trial of each searcher's best study."""
    found = {}
    for searcher, study in best.items():
        trial = StudyFolder.find(study, runs, "compare").read().best
        assert trial is not None
        found[searcher] = trial
    return found


def distinct_schedules(trials: Mapping[str, Trial]) -> list[Schedule]:
    """Return the trials' schedules in order, equal ones once: searchers often share their best."""
    schedules: list[Schedule] = []
    for trial in trials.values():
        schedule = Schedule.of(trial)
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
    trials = best_trials(best, runs)
    schedules = distinct_schedules(trials)
    history = folder.read()
    ended = [trial for trial in history.trials.values() if trial.outcome is not None]
    if len(ended) < len(schedules) * seeds:
        return None
    of_schedule = [judged(ended[k * seeds : (k + 1) * seeds]) for k in range(len(schedules))]
    return {who: of_schedule[schedules.index(Schedule.of(t))] for who, t in trials.items()}
