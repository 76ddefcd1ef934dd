"""A database that MLflow left half made, and a server that never answers."""

import json
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpopt.record.journal import Journal
from hpopt.tracking.client import ComparisonTracking, TrackingProcess
from hpopt.tracking.store import connect

EARLIER = "89d4b8295536"  # a schema of MLflow's on the way to any later one


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is all there."""
    database = tmp_path_factory.mktemp("whole") / "mlflow.db"
    connect(f"sqlite:///{database}", "lm")
    return database


def rewind(database: Path, *changes: str) -> None:
    """Say that fewer tables were made than were."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (EARLIER,))
        for change in changes:
            connection.execute(change)
        connection.commit()


def test_a_database_that_was_left_half_made_is_made_anew(whole: Path, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(whole, database)
    for table in ("experiment_tags", "experiments"):  # which are made last
        rewind(database, f"DELETE FROM {table}")
    client, experiment = connect(f"sqlite:///{database}", "lm")
    run = client.create_run(experiment)
    assert client.get_run(run.info.run_id).info.experiment_id == experiment


def test_a_database_with_experiments_is_left_as_it_is(whole: Path, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(whole, database)
    rewind(database)
    with closing(sqlite3.connect(database)) as connection:
        before = list(connection.iterdump())
    with pytest.raises(Exception, match="out-of-date"):
        connect(f"sqlite:///{database}", "lm")
    with closing(sqlite3.connect(database)) as connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize("studies", [1, 3])
def test_a_server_that_never_answers_costs_its_timeouts_once(
    studies: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_ending: list[Any]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folders = [tmp_path / f"study-{k}" for k in range(studies)]
    for folder in folders:
        folder.mkdir()
        with Journal.create(folder / "journal.jsonl", every_ending[0] | {"name": folder.name}):
            pass
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        if studies == 1:
            process = TrackingProcess(folders[0], uri, "lm", "trials")
            process.start()
        else:
            (tmp_path / "comparison.json").write_text(json.dumps({}))
            process = comparison = ComparisonTracking(tmp_path, uri, "lm", "trials", ["tpe"], print)
            comparison.start()
            for folder in folders:
                comparison.add(folder)
        began = time.monotonic()
        lacks = process.finish("finished")
        assert time.monotonic() - began < 30  # MLflow's import included
    assert f"the server at {uri} took longer than 2 s to answer" in str(lacks)
