"""Metrics, parameters and tags on their way to MLflow: one that it refuses costs no other."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..wording import what_failed
from .names import LONGEST_PARAM, text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    Entities = Sequence[Metric | Param | RunTag]

METRICS_A_BATCH = 800  # MLflow takes 1,000 entities at once, parameters and tags included
OTHERS_A_BATCH = 100
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # what isn't taken today never is


def log(
    client: "MlflowClient",
    run: str,
    metrics: Sequence["Metric"],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> list[str]:
    """Log what belongs to a run.

    Args:
        client: of the record.
        run: its id.
        metrics: any number.
        params: by name; MLflow doesn't let them change.
        tags: by name.

    Returns:
        What MLflow refuses for good, and why; all else is logged.
    """
    from mlflow.entities import Param, RunTag

    refused: list[str] = []
    settings = [Param(name, text(value, LONGEST_PARAM)) for name, value in params.items()]
    marks = [RunTag(name, text(value)) for name, value in tags.items()]
    while metrics or settings or marks:
        batch: Entities = [
            *metrics[:METRICS_A_BATCH],
            *settings[:OTHERS_A_BATCH],
            *marks[:OTHERS_A_BATCH],
        ]
        refused += _log_batch(client, run, batch)
        metrics = metrics[METRICS_A_BATCH:]
        settings, marks = settings[OTHERS_A_BATCH:], marks[OTHERS_A_BATCH:]
    return refused


def _log_batch(client: "MlflowClient", run: str, batch: "Entities") -> list[str]:
    """Log a batch; where it is refused, halve it until what is wrong stands alone."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    try:
        client.log_batch(
            run,
            [one for one in batch if isinstance(one, Metric)],
            [one for one in batch if isinstance(one, Param)],
            [one for one in batch if isinstance(one, RunTag)],
        )
    except MlflowException as error:
        if error.error_code not in REFUSALS or _is_deleted(client, run):
            raise
        if len(batch) == 1:
            return [f"{batch[0].key!r} ({what_failed(error)})"]
        half = len(batch) // 2
        parts = batch[:half], batch[half:]
        return [line for part in parts for line in _log_batch(client, run, part)]
    return []


def _is_deleted(client: "MlflowClient", run: str) -> bool:
    """Return whether somebody deleted a run meanwhile; a later writer makes another."""
    return bool(client.get_run(run).info.lifecycle_stage != "active")
