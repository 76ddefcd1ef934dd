"""A comparison from its settings to its verdict; run again, it goes on where it was."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..commands import record_note, resume_command, without_password
from ..errors import StudyError, io_error
from ..record.files import write_whole
from ..record.folders import MANIFEST, REPORT, StudyFolder, check_writable
from ..settings.study import Level
from ..tracking import Ending, Incomplete
from ..tracking.client import ComparisonTracking
from ..tracking.comparison import RECORDED
from ..tracking.reach import check_reachable
from ..tracking.words import incomplete, look_at_it
from ..verdict.judging import blocks_warning
from ..wording import counted, duration, why_nothing
from .conclusion import write_verdict
from .confirming import read_judged
from .contestants import Contestant
from .displacing import displacements
from .reading import CONFIRMATION, Studies, best_studies, read_studies
from .running import Job, job_processes, run_jobs
from .settings import ComparisonSettings, read_manifest, study_name


@dataclasses.dataclass(frozen=True)
class Compared:
    """A comparison that ended.

    Attributes:
        name: of the comparison.
        folder: where its studies and its verdict are.
        lines: its sentences and its table.
        has_values: whether any of its studies has a best trial.
        tracking_error: what is missing in MLflow and why; None where the record is complete.
        chart: its address in MLflow, where `hpopt ui` or the server answers; None where nothing
            was recorded.
    """

    name: str
    folder: Path
    lines: tuple[str, ...]
    has_values: bool
    tracking_error: Incomplete | None
    chart: str | None


def open_comparison(settings: ComparisonSettings) -> str:
    """Check a comparison, make its folder or find it again, and return its name.

    Raises:
        StudyError: it can't begin, or the folder is of another one.
    """
    check_writable(Path(settings.study.tracking.runs), "runs:")
    if len(settings.tasks) < 2 and any(c.spec.needs_studies for c in settings.contestants):
        raise StudyError("agents: portfolio needs more than one task: it is made from the others'")
    name = settings.study.tracking.name or f"compare-{time.strftime('%Y%m%d-%H%M%S')}"
    tracking = settings.study.tracking
    check_reachable(tracking.uri, tracking.experiment or name)
    manifest = settings.folder(name) / MANIFEST
    asked = dataclasses.replace(settings, study=settings.study.changed(name=name))
    if manifest.exists():
        there = read_manifest(manifest)
        if _essence(there) != _essence(asked):
            raise StudyError(
                f"name: must be new, but {manifest.parent} is a comparison with other settings; "
                f"`{resume_command(name, settings.study.tracking.runs)}` goes on with it"
            )
    else:
        if manifest.parent.exists():
            raise StudyError(f"name: must be new, but {manifest.parent} exists")
        try:
            manifest.parent.mkdir(parents=True)
        except OSError as error:
            raise StudyError(f"runs: can't be written: {io_error(error)}") from None
        write_whole(manifest, json.dumps(asked.to_json(), indent=2) + "\n")
    return name


def _essence(settings: ComparisonSettings) -> ComparisonSettings:
    """Return what results depend on: neither where they are kept nor how many run at a time."""
    study = settings.study.changed(workers=1, silence_limit=None, runs="", tracking_uri=None)
    return dataclasses.replace(settings, study=study)


def compare(settings: ComparisonSettings, name: str, line: Callable[[str], None]) -> Compared:
    """Run what is left of a comparison, and judge it.

    Args:
        settings: as `open_comparison` took them.
        name: of the comparison.
        line: shows a line.

    Raises:
        StudyError: a study can't be run; those that ended are kept.
    """
    folder, study = settings.folder(name), settings.study
    for text in _opening(settings, name):
        line(text)
    levels = {study.changed(task=task).tracking_level for task in settings.tasks}
    level: Level = "parents" if "parents" in levels else "trials"
    asked, machine = study.tracking, study.machine
    who = [contestant.label for contestant in settings.contestants]

    def say_where(curves: str) -> None:
        """Say where the studies can be watched, as soon as MLflow has a place for them."""
        with suppress(OSError):  # nobody reads any more, which our own thread finds out
            for text in look_at_it(asked, {"studies while they run": curves}):
                line(text)

    experiment = asked.experiment or name
    tracking = ComparisonTracking(folder, asked.uri, experiment, level, who, say_where)
    tracking.start()
    ending: Ending = "failed"
    try:
        runner = _Runner(settings, name, line, tracking)
        runner.record_earlier()
        limit = math.inf if settings.runs_commands else machine.silence_limit
        with job_processes(machine.workers, folder / "workers.log", limit) as processes:
            for jobs in (runner.searches, runner.portfolios, runner.confirmations):
                run_jobs(jobs(), processes, runner.begun, runner.finished)
        studies = read_studies(settings, name)
        lines = write_verdict(settings, name, studies)
        ending = "finished"
    except KeyboardInterrupt:
        ending = "killed"
        raise
    finally:
        line("finishing the record in MLflow ...")
        error = tracking.finish(ending, timeout=600.0)
    has_values = any(history.best is not None for history in studies.values())
    if not has_values:
        trials = [trial for history in studies.values() for trial in history.trials.values()]
        lines = (f"No study came to a value: of their trials {why_nothing(trials)}.", "", *lines)
    return Compared(name, folder, lines, has_values, error, tracking.chart)


def _opening(settings: ComparisonSettings, name: str) -> list[str]:
    tasks, who = settings.tasks, [contestant.label for contestant in settings.contestants]
    asked = settings.study.tracking
    studies = len(tasks) * len(who) * settings.seeds
    warning = blocks_warning(len(tasks) * settings.seeds, len(who) - 1)
    return [
        f"comparison {name}: {', '.join(who)} on {', '.join(tasks)}",
        f"{studies:,} studies: {counted(settings.seeds, 'seed')} each, "
        f"{counted(settings.equivalents, 'full-run equivalent')} of cost for every one; "
        f"each against {settings.against}",
        *displacements(settings),
        *filter(None, [warning, record_note(asked.tracking_uri, asked.experiment)]),
    ]


class _Runner:
    """Makes the jobs of a comparison that are still to be done, and shows what came of them."""

    def __init__(
        self,
        settings: ComparisonSettings,
        name: str,
        line: Callable[[str], None],
        tracking: ComparisonTracking,
    ) -> None:
        self._settings, self._name, self._line = settings, name, line
        self._tracking = tracking
        self._folder = settings.folder(name)

    def record_earlier(self) -> None:
        """Hand studies that ended before, but aren't recorded, to the process that writes."""
        for path in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            if StudyFolder(path).has_ended and not (path / RECORDED).exists():
                self._tracking.add(path)

    def searches(self) -> list[Job]:
        """Return studies of all searchers that need no other study."""
        return [
            self._search(*place) for place in self._missing() if not place[1].spec.needs_studies
        ]

    def portfolios(self) -> list[Job]:
        """Return studies of portfolios, each made from the other tasks' studies."""
        return [self._search(*p) for p in self._missing() if p[1].spec.needs_studies]

    def _missing(self) -> list[tuple[str, Contestant, int]]:
        places = [
            (task, who, seed)
            for task in self._settings.tasks
            for seed in range(self._settings.seeds)
            for who in self._settings.contestants
        ]
        return [p for p in places if not self._study(*p).has_ended]

    def _study(self, task: str, who: Contestant, seed: int) -> StudyFolder:
        return StudyFolder(self._folder / study_name(task, who.file_name, seed))

    def _search(self, task: str, who: Contestant, seed: int) -> Job:
        study = self._settings.study_settings(self._name, task, who, seed)
        if who.spec.needs_studies:
            study = study.changed(portfolio=self._sources(task))
        about = {
            "comparison": self._name,
            "searcher": who.label,
            "equivalents": self._settings.equivalents,
        }
        request = {
            "settings": study.flat(),
            "about": about,
            "equivalents": self._settings.equivalents,
        }
        what = f"{who.label} on {task}, seed {seed}"
        return Job(task, what, self._study(task, who, seed), request)

    def _sources(self, task: str) -> tuple[str, ...]:
        """Return studies of the other tasks by searchers that hold configurations."""
        return tuple(
            self._study(other, who, seed).name
            for other in self._settings.tasks
            if other != task
            for who in self._settings.contestants
            if who.spec.holds and who.spec.teaches
            for seed in range(self._settings.seeds)
        )

    def confirmations(self) -> list[Job]:
        """Return the confirmation of each task's best trials, where that isn't complete."""
        shared, studies = self._settings.study, read_studies(self._settings, self._name)
        tasks = [t for t in self._settings.tasks if shared.changed(task=t).confirm_seeds]
        jobs = [self._confirmation(task, studies) for task in tasks]
        return [job for job in jobs if not self._is_confirmed(job)]

    def _confirmation(self, task: str, studies: Studies) -> Job:
        alone = Contestant("default", "default")
        study = self._settings.study_settings(self._name, task, alone, 0).changed(
            name=study_name(task, CONFIRMATION, 0),
            displacement=0.0,  # it is of all blocks, and searches nothing
        )
        request = {
            "settings": study.flat(),
            "about": {"comparison": self._name, "searcher": CONFIRMATION},
            "best": best_studies(self._settings, task, studies),
            "seeds": self._settings.study.budget.confirm_seeds,
        }
        what = f"the best on {task}, on fresh seeds"
        return Job(task, what, StudyFolder(self._folder / str(study.tracking.name)), request)

    def _is_confirmed(self, job: Job) -> bool:
        best, seeds = job.request["best"], job.request["seeds"]
        runs = str(self._folder)
        return not best or read_judged(job.folder.name, runs, best, seeds) is not None

    def begun(self, job: Job) -> None:
        """Have a study's record written while it runs."""
        self._tracking.follow(job.folder.path)

    def finished(self, job: Job, done: Mapping[str, Any]) -> None:
        value = "" if done["value"] is None else f"{done['value']:.4f}, "
        self._line(f"{job.what}: {value}{duration(done['seconds'])}")
        self._tracking.add(job.folder.path)


def record_lines(compared: Compared, settings: ComparisonSettings) -> list[str]:
    """Return where a comparison is recorded, and how to look at it."""
    study = settings.study
    return [
        f"Report: {compared.folder / REPORT}",
        f"Record: {compared.folder}/, MLflow {without_password(study.tracking.uri)}",
        *look_at_it(study.tracking, {"searchers on a chart": compared.chart}),
        *incomplete(compared.tracking_error, compared.name, study.tracking.runs),
    ]
