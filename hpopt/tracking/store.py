"""Where the record is kept: the URI, a database that many studies may meet at, the experiment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..record.files import free_lock, take_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
ENVIRONMENT = {  # of every process that runs mlflow
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # a log then holds what somebody should read
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # we try again ourselves, and show what is wrong
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def is_server(uri: str) -> bool:
    """Return whether a URI is of a server, whose users needn't reach this machine's disk."""
    return uri.startswith(("http://", "https://"))


def database_path(uri: str) -> Path | None:
    """Return the file of a `sqlite:///` URI; None for any other."""
    if not uri.startswith(SQLITE):
        return None
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


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
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            try:
                location = None if folder is None else folder.as_uri()
                return client, client.create_experiment(experiment, artifact_location=location)
            except MlflowException as error:
                known = client.get_experiment_by_name(experiment)
                if known is None:  # otherwise a study elsewhere was quicker
                    raise error
    if known.lifecycle_stage != "active":
        raise ValueError(f"the experiment {experiment!r} was deleted: restore it, or name another")
    return client, known.experiment_id
