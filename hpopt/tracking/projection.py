"""A study's journal projected into MLflow: writing it again changes nothing.

Times are those of the events, runs are looked up by their tags before they are made, and a
trial's run is closed only after everything of it is written, so that a closed one is left alone.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hpopt_envs.records import Trial

from ..record.folders import StudyFolder
from ..record.history import History
from ..record.lines import Event, encode_line
from ..settings.study import Level
from . import Ending, rows
from .answer import answer_metrics, answer_tags, read_result
from .artifacts import log_artifacts
from .batches import log
from .store import connect

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.entities import Run as MlflowRun


@dataclass(frozen=True)
class Parent:
    """A run that a study's lies below.

    Attributes:
        id: MLflow's.
        colour: that the study's curves share; empty for MLflow's own choice.
    """

    id: str
    colour: str = ""


@dataclass
class _Run:
    """A run of MLflow, and what it still lacks.

    Attributes:
        name: shown in MLflow.
        start: time of its first event, unix milliseconds.
        id: MLflow's; empty until the run is made or found.
        status: how its trial ended; None while it runs.
        confirms: which schedule it tests, on a fresh seed.
        end: time of its last event, unix milliseconds.
        complete: nothing is left to write: the run is closed, or not wanted.
    """

    name: str
    start: int
    id: str = ""
    status: str | None = None
    confirms: str = ""
    end: int | None = None
    complete: bool = False
    metrics: "list[Metric]" = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Projection:
    """Writes a study's events to MLflow in batches.

    Args:
        uri: MLflow tracking URI.
        experiment: its name.
        level: "parents" leaves the trials' runs out.
        header: the study event.
        parent: the run that the study's lies below.

    Attributes:
        refused: what MLflow refuses for good, and why.
    """

    def __init__(
        self, uri: str, experiment: str, level: Level, header: Event, parent: Parent | None = None
    ) -> None:
        self.refused: list[str] = []
        self._history = History()
        self._history.apply(header)
        self._level = level
        self._now = _milliseconds(header)
        self._client, self._experiment = connect(uri, experiment)
        self._study = _Run(header["name"], self._now, params=rows.study_params(self._history))
        self._parent = parent
        self._open_study(hashlib.sha256(encode_line(header)).hexdigest()[:16])
        self._runs: dict[int, _Run] = {}
        self._known = self._find_trials() if level == "trials" else {}

    @property
    def place(self) -> list[str]:
        """Ids of the experiment and of the study's run."""
        return [self._experiment, self._study.id]

    def apply(self, event: Event) -> None:
        """Take in an event; `flush` writes what came of it."""
        self._history.apply(event)
        if event["event"] == "resumed":
            return  # that alone changes nothing, times included
        self._now = _milliseconds(event)
        match event["event"]:
            case "decision" if event["request"]["kind"] == "start":
                self._start(event["request"]["trial"])
            case "reply" | "closed":
                trial = self._history.trials[event["trial"]]
                if event["event"] == "reply" and event["reply"]["segment"] is not None:
                    self._add_segment(trial)
                if trial.outcome is not None:
                    self._end(trial)

    def flush(self) -> int:
        """Write what is unwritten, and return the number of metrics written."""
        written = self._write(self._study)
        for trial, run in self._runs.items():
            if run.complete:
                continue
            if not run.id:
                run.id = self._create_trial(trial, run)
            written += self._write(run)
            if run.status is not None:
                self._client.set_terminated(run.id, run.status, run.end)
                run.complete = True
        return written

    def finish(self, ending: Ending, folder: Path) -> None:
        """Write what is left, close every run, and log the artifacts.

        Args:
            ending: how the study ended.
            folder: of the study; the files of its `artifacts` folder are logged too.
        """
        result = read_result(StudyFolder(folder)) if ending == "finished" else {}
        if result:
            metrics = answer_metrics(self._history, result)
            self._add_metrics(self._study, metrics, self._history.cost)
            self._study.tags |= answer_tags(self._history, result)
        self.flush()
        for run in self._runs.values():
            if not run.complete:
                self._client.set_terminated(run.id, "KILLED", self._now)
        self._client.set_terminated(self._study.id, ending.upper(), self._now)
        log_artifacts(self._client, self._study.id, self._history, folder)

    def _open_study(self, identity: str) -> None:
        """Find the study's run, or makes it; `identity` tells studies of one name apart."""
        found = self._client.search_runs(
            [self._experiment], f"tags.`hpopt.study_id` = '{identity}'", max_results=1
        )
        if found:
            self._study.id = found[0].info.run_id
            self._client.update_run(self._study.id, "RUNNING")
        else:
            tags = {"hpopt.study_id": identity, **rows.study_tags(self._history)}
            if self._parent is not None:
                tags["mlflow.parentRunId"] = self._parent.id
                tags |= {"mlflow.runColor": self._parent.colour} if self._parent.colour else {}
            self._study.id = self._create(self._study, tags)

    def _find_trials(self) -> dict[int, "MlflowRun"]:
        """Return the runs of trials that an earlier writer made."""
        found: dict[int, MlflowRun] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`mlflow.parentRunId` = '{self._study.id}'",
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            for run in page:
                found[int(run.data.tags["hpopt.trial"])] = run
            token = page.token
            if not token:
                return found

    def _start(self, trial: int) -> None:
        run = _Run(f"trial {trial}", self._now, complete=self._level == "parents")
        if trial in self._history.tests:
            run.confirms = self._history.entrants.get(trial, "confirmation")
            run.name = f"{run.confirms} on fresh seed {self._fresh_seed(trial)}"
        self._runs[trial] = run
        if trial in self._known:
            run.id, status = self._known[trial].info.run_id, self._known[trial].info.status
            run.complete = status in rows.STATUS.values()
            if status == "KILLED":
                self._client.update_run(run.id, "RUNNING")

    def _fresh_seed(self, trial: int) -> int:
        """Return which of the fresh seeds a test has, from 0."""
        trials = self._history.trials
        seeds = list(dict.fromkeys(trials[test].seed for test in sorted(self._history.tests)))
        return seeds.index(trials[trial].seed)

    def _create_trial(self, trial: int, run: _Run) -> str:
        test = {"hpopt.confirms": run.confirms} if trial in self._history.tests else {}
        return self._create(
            run,
            {
                "mlflow.parentRunId": self._study.id,
                "hpopt.study": self._study.name,
                "hpopt.trial": str(trial),
                "hpopt.seed": str(self._history.trials[trial].seed),
                **test,
            },
        )

    def _create(self, run: _Run, tags: dict[str, str]) -> str:
        made = self._client.create_run(
            self._experiment, start_time=run.start, tags=tags, run_name=run.name
        )
        return str(made.info.run_id)

    def _add_segment(self, trial: Trial) -> None:
        segment = trial.segments[-1]
        metrics = rows.segment_metrics(self._history.facts, segment)
        self._add_metrics(self._runs[trial.id], metrics, segment.study_cost)

    def _end(self, trial: Trial) -> None:
        facts, run = self._history.facts, self._runs[trial.id]
        run.status = rows.STATUS[trial.outcome] if trial.outcome else None
        run.end = self._now
        # An earlier version wrote those of the first segment at once, and they can't change.
        written = self._known[trial.id].data.params if trial.id in self._known else {}
        params = rows.trial_params(trial)
        run.params = {name: value for name, value in params.items() if name not in written}
        run.tags = rows.trial_tags(facts, trial)
        if trial.value is not None:
            value = rows.finite({"value": facts.shown(trial.value)})
            self._add_metrics(run, value, trial.segments[-1].study_cost)
        best = self._history.best
        if best is not None and trial.id not in self._history.tests:
            metrics = rows.best_metrics(self._history)
            self._add_metrics(self._study, metrics, self._history.search_cost)
            self._study.tags["hpopt.best_trial"] = str(best.id)

    def _add_metrics(self, run: _Run, metrics: dict[str, float], cost: float) -> None:
        from mlflow.entities import Metric

        if run.complete:
            return
        step = round(cost)  # MLflow's steps are whole numbers; ours are the study's cost
        run.metrics += [Metric(key, value, self._now, step) for key, value in metrics.items()]

    def _write(self, run: _Run) -> int:
        """Log what a run lacks, and return the number of metrics."""
        self.refused += [
            f"{line} of {run.name}"
            for line in log(self._client, run.id, run.metrics, run.params, run.tags)
        ]
        written = len(run.metrics)
        run.metrics, run.params, run.tags = [], {}, {}
        return written


def _milliseconds(event: Event) -> int:
    seconds: float = event["time"]
    return round(seconds * 1000)
