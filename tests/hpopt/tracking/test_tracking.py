"""The record in MLflow follows from the journal, whatever happens to its writer."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hpopt.record.journal import Journal, read_events
from hpopt.tracking.client import TrackingProcess
from hpopt_search_spaces import SearchSpace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


Events = list[dict[str, Any]]


def journaled(folder: Path, events: Events) -> None:
    journal = folder / "journal.jsonl"
    first, *rest = events
    named = first | {"name": folder.name}
    with Journal.open(journal) if journal.exists() else Journal.create(journal, named) as open_one:
        for event in rest:
            open_one.append(event)


def record(folder: Path, uri: str, level: Any = "trials", ending: Any = "finished") -> str | None:
    """Runs a writer to its end."""
    process = TrackingProcess(folder, uri, "lm", level)
    process.start()
    return process.finish(ending)


class Record:
    """What MLflow holds of the studies."""

    def __init__(self, folder: Path, client: "MlflowClient") -> None:
        self.folder = folder
        self.database = folder / "mlflow.db"
        self.uri = f"sqlite:///{self.database}"
        self.client = client

    def runs(self, text: str) -> "list[Run]":
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, text))

    def parent(self, study: str) -> "Run":
        (run,) = self.runs(f"tags.`hpopt.study` = '{study}' AND tags.`hpopt.study_id` != ''")
        return run

    def children(self, study: str) -> "list[Run]":
        parent = self.parent(study).info.run_id
        children = self.runs(f"tags.`mlflow.parentRunId` = '{parent}'")
        return sorted(children, key=lambda child: int(child.data.tags["hpopt.trial"]))

    def history(self, run: "Run", metric: str) -> list[tuple[int, float]]:
        metrics = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value) for point in metrics)

    def everything(self, study: str) -> dict[str, Any]:
        """Each run of a study by name, with all that must not depend on how it was written."""
        runs = [self.parent(study), *self.children(study)]
        assert len({run.info.run_name for run in runs}) == len(runs)
        return {
            run.info.run_name.replace(study, "STUDY"): {
                "status": run.info.status,
                "params": run.data.params,
                "metrics": {name: self.history(run, name) for name in run.data.metrics},
                "outcome": run.data.tags.get("hpopt.outcome"),
            }
            for run in runs
        }


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, every_ending: Events) -> Record:
    """Three studies that met on a fresh database: a whole one, one cut off, one of parents only."""
    runs = tmp_path_factory.mktemp("runs")
    uri = f"sqlite:///{runs / 'mlflow.db'}"
    whole, cut, parents = runs / "whole", runs / "cut", runs / "parents"
    journaled(whole, every_ending)
    (whole / "artifacts").mkdir()
    (whole / "artifacts" / "extra.txt").write_text("mine")
    (whole / "report.html").write_text("a page")
    journaled(cut, every_ending[:-1])
    journaled(parents, every_ending)
    processes = [
        TrackingProcess(whole, uri, "lm", "trials"),
        TrackingProcess(cut, uri, "lm", "trials"),
        TrackingProcess(parents, uri, "lm", "parents"),
    ]
    for process in processes:
        process.start()
    endings: Any = ("finished", "killed", "failed")
    for process, ending in zip(processes, endings, strict=True):
        assert process.finish(ending, timeout=300) is None
    from mlflow import MlflowClient

    return Record(runs, MlflowClient(uri))


def test_a_study_is_a_parent_with_a_child_for_every_trial(
    studies: Record, space: SearchSpace
) -> None:
    parent = studies.parent("whole")
    assert parent.info.status == "FINISHED"
    assert parent.data.params["agent"] == "tpe"
    assert parent.data.params["trials"] == "5"
    assert parent.data.tags["unit.cost"] == "token-equivalents"
    assert parent.data.tags["unit.objective"] == "nats/token"
    assert parent.data.tags["hpopt.best_trial"] == "4"
    assert "tpe" in parent.data.tags["mlflow.note.content"]
    children = studies.children("whole")
    assert [child.data.tags["hpopt.trial"] for child in children] == list("01234")
    statuses = ["FINISHED", "FINISHED", "FAILED", "FAILED", "FINISHED"]
    assert [child.info.status for child in children] == statuses
    outcomes = ["completed", "stopped", "exploded", "out_of_memory", "completed"]
    assert [child.data.tags["hpopt.outcome"] for child in children] == outcomes
    assert children[2].data.tags["hpopt.reason"] == "the loss became inf"
    expected = space.decode([0.2, 0.5, 0.0])
    assert children[0].data.params == {name: str(value) for name, value in expected.items()}


def test_metrics_are_stepped_by_the_cost_of_the_study(studies: Record, space: SearchSpace) -> None:
    first, _, _, _, last = studies.children("whole")
    assert studies.history(first, "objective") == [(6000, 3.5), (11000, 3.0)]
    assert studies.history(first, "value") == [(11000, 3.0)]
    assert studies.history(last, "training_tokens") == [(36002, 4096), (41002, 8192)]
    rate = space.decode([0.2, 0.5, 0.0])["learning_rate"]
    assert studies.history(first, "learning_rate") == [(6000, rate), (11000, rate)]
    best = studies.history(studies.parent("whole"), "best_value")
    assert best == [(11000, 3.0), (16001, 3.0), (26001, 3.0), (31002, 3.0), (41002, 2.5)]


def test_what_is_not_finite_is_left_out(studies: Record) -> None:
    exploded = studies.children("whole")[2]
    assert studies.history(exploded, "train_loss") == [(21001, 3.875)]
    assert studies.history(exploded, "gradient_norm") == [(21001, 1.5)]
    assert len(studies.history(exploded, "cost")) == 2
    assert "value" not in exploded.data.metrics


def test_times_are_those_of_the_events(studies: Record) -> None:
    parent = studies.parent("whole")
    events = read_events(studies.folder / "whole" / "journal.jsonl")
    times = [round(event["time"] * 1000) for event in events]
    assert (parent.info.start_time, parent.info.end_time) == (times[0], times[-1])


def test_artifacts_lie_beside_the_database(studies: Record, space: SearchSpace) -> None:
    parent = studies.parent("whole")
    folder = Path(parent.info.artifact_uri.removeprefix("file://"))
    assert folder.is_relative_to(studies.folder / "mlartifacts")
    assert json.loads((folder / "space.json").read_text()) == space.to_dict()
    best = json.loads((folder / "schedule.json").read_text())
    assert (best["trial"], best["value"], len(best["segments"])) == (4, 2.5, 1)
    assert best["segments"][0]["hyperparameters"] == space.decode([(4 * 0.37 + 0.2) % 1, 0.5, 0.8])
    assert (folder / "search.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "extra.txt").read_text() == "mine"
    assert parent.data.tags["hpopt.report"] == str(studies.folder / "whole" / "report.html")
    assert not (folder / "report.html").exists()
    assert json.loads((folder / "settings.json").read_text())["trials"] == 5


def test_a_password_in_the_uri_is_not_recorded(studies: Record) -> None:
    texts = list((studies.folder / "mlartifacts").rglob("settings.json"))
    assert texts
    for path in [studies.database, *texts]:
        assert b"password" not in path.read_bytes()


def test_the_parents_level_leaves_the_trials_out(studies: Record) -> None:
    parent = studies.parent("parents")
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["best_value"] == 2.5
    assert studies.children("parents") == []


def test_a_study_cut_off_is_killed_and_its_resumption_finishes_it(
    studies: Record, every_ending: Events
) -> None:
    children = studies.children("cut")
    assert studies.parent("cut").info.status == "KILLED"
    assert [child.info.status for child in children][-2:] == ["FAILED", "KILLED"]
    folder = studies.folder / "cut"
    journaled(folder, [every_ending[0], {"event": "resumed"}, every_ending[-1]])
    assert record(folder, studies.uri) is None
    assert studies.everything("cut") == studies.everything("whole")


def test_writing_again_changes_nothing(studies: Record) -> None:
    before = studies.everything("whole")
    folder = studies.folder / "whole"
    assert record(folder, studies.uri) is None
    assert studies.everything("whole") == before


def test_a_writer_killed_in_the_middle_is_made_up_for(
    studies: Record, new_script: Callable[..., Any]
) -> None:
    folder, script = studies.folder / "long", new_script(maximize=True)
    for trial in range(30):
        script.trial(trial, -0.25, -0.5 - trial)
    journaled(folder, script.events)
    with sqlite3.connect(studies.database) as connection:
        count = "SELECT COUNT(*) FROM runs"
        (before,) = connection.execute(count).fetchone()
        command = "from hpopt.tracking.writer import main; main()"
        arguments = [str(folder), "lm", "trials"]
        writer = subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert writer.stdin is not None
        writer.stdin.write(json.dumps({"uri": studies.uri}).encode() + b"\n")
        writer.stdin.flush()
        while connection.execute(count).fetchone()[0] < before + 8:
            assert writer.poll() is None
            time.sleep(0.005)
        writer.kill()
        writer.communicate()
    connection.close()
    assert 5 < len(studies.children("long")) < 30
    assert record(folder, studies.uri) is None
    children = studies.children("long")
    assert {child.info.status for child in children} == {"FINISHED"}
    values = {int(c.data.tags["hpopt.trial"]): c.data.metrics["value"] for c in children}
    assert values == {trial: 0.5 + trial for trial in range(30)}  # maximised: shown as itself
    assert all(len(studies.history(child, "objective")) == 2 for child in children)


def test_a_record_that_fails_says_so_and_nothing_else(tmp_path: Path, every_ending: Events) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, but a text of some length" * 50)
    journaled(tmp_path / "otter", every_ending)
    error = record(tmp_path / "otter", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert error is not None
    assert "not a database" in error
    assert "\n" not in error
