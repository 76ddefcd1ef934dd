"""Where the record is kept: the URI, a database that many studies may meet at, the experiment."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ..record.files import free_lock, take_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
ENVIRONMENT = {  # of every process that runs mlflow
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # a log then holds what somebody should read
    # We try again ourselves, and show what is wrong; a mute server mustn't cost minutes at the end.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
}

WITHOUT_RECORD = {"alembic_version", "workspaces"}  # tables that a new database has rows in
DESCRIPTION = """\
Written by hpopt: a run is a study, and below it each of its trials. In a comparison, studies lie
below the run of their searcher; the chart of `normalised_regret` has a line for each of these.

- **Steps** are cost. Of a study and its trials: token-equivalents that the study had spent, where
  forward and backward on a token is 1. Of a searcher: full-run equivalents, a full trial of the
  default configuration with its validation.
- **`best_value`** is the best objective so far, on validation. `normalised_regret` is 0 at the best
  that anybody found on the task, and 1 at the base model; `best_so_far` is the mean over seeds.
- **A study that ended** says in its description what it recommends and what came of that on the
  test split; tags `recommended.…` are the hyperparameters.
- **A trial** has its hyperparameters as parameters, and by segment under `schedule/`.
- Losses, forgetting and divergence are nats a token (of a classifier, an example).
"""


def is_server(uri: str) -> bool:
    """Return whether a URI is of a server, whose users needn't reach this machine's disk."""
    return uri.startswith(("http://", "https://"))


def database_path(uri: str) -> Path | None:
    """Return the file of a `sqlite:///` URI; None for any other."""
    file = _file_of(uri)
    return None if file is None else Path(unquote(file))


def as_mlflow_takes_it(uri: str) -> str:
    """Return a URI for MLflow, which would make a folder of what stands behind `sqlite:///`.

    That is another folder than the database's where characters are written as codes.
    """
    return uri.replace("sqlite:", "sqlite+pysqlite:", 1) if "%" in (_file_of(uri) or "") else uri


def _file_of(uri: str) -> str | None:
    return uri.removeprefix(SQLITE).partition("?")[0] if uri.startswith(SQLITE) else None


def artifact_folder(uri: str) -> Path | None:
    """Return where the artifacts of a `sqlite:///` URI lie, beside it; None for any other.

    MLflow's own choice is a folder of the working directory, whatever that is.
    """
    database = database_path(uri)
    return None if database is None else database.absolute().parent / "mlartifacts"


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keep others out while a database is made: two that made it together both failed."""
    database = database_path(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    path = database.with_name(f"{database.name}.lock")
    lock = take_lock(path)
    try:
        yield
    finally:
        free_lock(path, lock)


def deleted(experiment: str) -> str:
    """Return what is said of an experiment that nothing can be written to."""
    return f"the experiment {experiment!r} was deleted in MLflow: restore it, or name another"


def experiments(database: Path) -> list[tuple[str, str, str]]:
    """Return the experiments of an SQLite database, without mlflow, the newest first.

    Args:
        database: its file; one that isn't MLflow's has none.

    Returns:
        Id, name and stage ("active" or "deleted") of each.
    """
    question = "SELECT experiment_id, name, lifecycle_stage FROM experiments ORDER BY 1 DESC"
    address = f"file:{quote(str(database.absolute()))}?mode=ro"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as connection:
        return [(str(number), *rest) for number, *rest in connection.execute(question)]
    return []


def _emptied(uri: str) -> bool:
    """Take MLflow's tables out of an SQLite database in which it ended before all were there.

    A full disk, say, leaves that behind, and MLflow then never opens it. It makes the first
    experiment last: where there is none, there is nothing to lose.

    Returns:
        Whether it was such a database.
    """
    database = database_path(uri)
    if database is None or not database.is_file():
        return False
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in found if not name.startswith("sqlite_")]
        full = [t for t in tables if connection.execute(f'SELECT 1 FROM "{t}" LIMIT 1').fetchone()]
        if "experiments" not in tables or not set(full) <= WITHOUT_RECORD:
            return False
        for table in tables:
            connection.execute(f'DROP TABLE "{table}"')
        connection.commit()
        return True
    return False


def connect(uri: str, experiment: str) -> "tuple[MlflowClient, str]":
    """Open the store, made if it is new.

    Args:
        uri: MLflow tracking URI.
        experiment: name of the experiment, made if it is new.

    Returns:
        A client, and the experiment's id.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    folder = artifact_folder(uri)
    with _alone(uri):
        try:
            client = MlflowClient(tracking_uri=as_mlflow_takes_it(uri))
        except Exception:  # of SQLAlchemy, Alembic or MLflow: which, depends on how far it came
            if not _emptied(uri):
                raise
            client = MlflowClient(tracking_uri=as_mlflow_takes_it(uri))
        known = client.get_experiment_by_name(experiment)
        if known is None:
            try:
                location = None if folder is None else folder.as_uri()
                tags = {"mlflow.note.content": DESCRIPTION}
                made = client.create_experiment(experiment, location, tags)
                return client, made
            except MlflowException as error:
                known = client.get_experiment_by_name(experiment)
                if known is None:  # otherwise a study elsewhere was quicker
                    raise error
    if known.lifecycle_stage != "active":
        raise ValueError(deleted(experiment))
    return client, known.experiment_id
