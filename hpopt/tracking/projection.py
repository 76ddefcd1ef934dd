"""A study's journal projected into MLflow: writing it again changes nothing.

Times are those of the events, runs are looked up by their tags before they are made, and a
trial's run is closed only after everything of it is written, so that a closed one is left alone.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hpopt_envs.records import Trial

from ..record.history import FIRST_TEST, History
from ..record.journal import Event, encode_line
from ..settings.study import Level
from . import Ending, rows
from .artifacts import log_artifacts
from .store import connect

if TYPE_CHECKING:
    from mlflow.entities import Metric

METRICS_A_BATCH = 800  # MLflow takes 1,000 entities at once, parameters and tags included
PARAMS_A_BATCH = 100


@dataclass
class _Run:
    """A run of MLflow, and what it still lacks.

    Attributes:
        name: shown in MLflow.
        start: time of its first event, unix milliseconds.
        id: MLflow's; empty until the run is made or found.
        status: how its trial ended; None while it runs.
        end: time of its last event, unix milliseconds.
        complete: nothing is left to write: the run is closed, or not wanted.
    """

    name: str
    start: int
    id: str = ""
    status: str | None = None
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
    """

    def __init__(self, uri: str, experiment: str, level: Level, header: Event) -> None:
        self._history = History()
        self._history.apply(header)
        self._level = level
        self._now = _milliseconds(header)
        self._client, self._experiment = connect(uri, experiment)
        self._study = _Run(header["name"], self._now, params=rows.study_params(self._history))
        self._open_study(hashlib.sha256(encode_line(header)).hexdigest()[:16])
        self._runs: dict[int, _Run] = {}
        self._known = self._find_trials() if level == "trials" else {}

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
            self._study.id = self._create(self._study, tags)

    def _find_trials(self) -> dict[int, tuple[str, str]]:
        """Id and status of the runs of trials that an earlier writer made."""
        found: dict[int, tuple[str, str]] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`mlflow.parentRunId` = '{self._study.id}'",
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            for run in page:
                found[int(run.data.tags["hpopt.trial"])] = (run.info.run_id, run.info.status)
            token = page.token
            if not token:
                return found

    def _start(self, trial: int) -> None:
        tested = trial in self._history.tests
        name = f"confirmation {trial - FIRST_TEST}" if tested else f"trial {trial}"
        run = _Run(name, self._now, complete=self._level == "parents")
        self._runs[trial] = run
        if trial in self._known:
            run.id, status = self._known[trial]
            run.complete = status in rows.STATUS.values()
            if status == "KILLED":
                self._client.update_run(run.id, "RUNNING")

    def _create_trial(self, trial: int, run: _Run) -> str:
        test = {"hpopt.test": "true"} if trial in self._history.tests else {}
        return self._create(
            run,
            {
                "mlflow.parentRunId": self._study.id,
                "hpopt.study": self._study.name,
                "hpopt.trial": str(trial),
                "hpopt.seed": str(self._history.trials[trial].seed),
                **test,
                **rows.unit_tags(self._history.facts),
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
        if len(trial.segments) == 1:
            self._runs[trial.id].params = rows.trial_params(trial)

    def _end(self, trial: Trial) -> None:
        facts, run = self._history.facts, self._runs[trial.id]
        run.status = rows.STATUS[trial.outcome] if trial.outcome else None
        run.end = self._now
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
        from mlflow.entities import Param, RunTag

        metrics = run.metrics
        params = [Param(*item) for item in run.params.items()]
        tags = [RunTag(*item) for item in run.tags.items()]
        while metrics or params or tags:
            self._client.log_batch(
                run.id,
                metrics[:METRICS_A_BATCH],
                params[:PARAMS_A_BATCH],
                tags[:PARAMS_A_BATCH],
            )
            metrics = metrics[METRICS_A_BATCH:]
            params, tags = params[PARAMS_A_BATCH:], tags[PARAMS_A_BATCH:]
        written = len(run.metrics)
        run.metrics, run.params, run.tags = [], {}, {}
        return written


def _milliseconds(event: Event) -> int:
    seconds: float = event["time"]
    return round(seconds * 1000)
