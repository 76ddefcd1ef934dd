"""One thing that MLflow refuses costs no other."""

from pathlib import Path

import pytest

from hpopt.tracking.batches import log
from hpopt.tracking.store import connect


def test_what_is_refused_is_named_and_everything_else_is_there(tmp_path: Path) -> None:
    from mlflow.entities import Metric

    client, experiment = connect(f"sqlite:///{tmp_path / 'mlflow.db'}", "otters")
    run = client.create_run(experiment).info.run_id
    assert log(client, run, [], {"rate": "1"}, {}) == []
    metrics = [Metric(f"m{k}", k, 0, 0) for k in range(900)]
    metrics[3] = Metric("no/../name", 1.0, 0, 0)
    params = {f"p{k}": "x" * 9000 for k in range(120)} | {"rate": "2"}
    refused = log(client, run, metrics, params, {"tag": "t" * 9000})
    assert [line.partition(" ")[0] for line in refused] == ["'no/../name'", "'rate'"]
    assert all("\n" not in line for line in refused)
    there = client.get_run(run).data
    assert len(there.metrics) == 899
    assert there.params["rate"] == "1"
    assert len(there.params) == 121
    assert len(there.tags["tag"]) == 8000


def test_a_run_that_was_deleted_is_no_fault_of_what_is_logged(tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    client, experiment = connect(f"sqlite:///{tmp_path / 'mlflow.db'}", "otters")
    run = client.create_run(experiment).info.run_id
    client.delete_run(run)
    with pytest.raises(MlflowException, match="active"):
        log(client, run, [], {"rate": "1", "size": "2"}, {})
