"""A study's run in MLflow has what was asked, and what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpopt
from hpopt.record.history import History
from hpopt.record.schedule import default_configuration
from hpopt.tracking.rows import study_params


def test_what_was_asked_is_in_the_parameters(new_script: Callable[..., Any]) -> None:
    script = new_script()
    header = script.events[0]
    asked = {
        "cost": 954204.16,
        "baseline": {"learning_rate": 2e-5, "batch_size": 32},
        "fix": {"lora_rank": 16},
        "constraint": ["length", "module:polite"],
        "portfolio": ["one", "two"],
        "tracking_uri": "http://me:password@server",
    }
    history = History()
    history.apply(header | {"settings": asked, "equivalents": 6})
    params = study_params(history)
    assert params["budget"] == "6 runs"
    assert params["baseline"] == "learning_rate=2e-05,batch_size=32"
    assert (params["fix"], params["portfolio"]) == ("lora_rank=16", "one,two")
    assert params["constraint"] == "length,module:polite"
    assert not any("954204" in value or "password" in value for value in params.values())


@pytest.mark.parametrize("agent", ["range-test", "default"])
def test_a_study_has_its_answer_and_says_what_fresh_seeds_confirm(
    agent: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    asked = {"task": "simulated", "trials": 3, "agent": agent, "trial_tokens": 4 * 4096}
    result = hpopt.search(**asked, runs=str(tmp_path), name="otter", track="trials")  # type: ignore[arg-type]
    best, confirmation = result.best, result.confirmation
    assert best is not None
    assert confirmation is not None
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("simulated")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    tests = {run.info.run_name: run for run in runs if "hpopt.confirms" in run.data.tags}
    default = default_configuration(result.space, result.facts)
    values = {"winner": best.path[0].hyperparameters, "default": default}
    if agent == "default":
        del values["winner"]
    assert set(tests) == {f"{who} on fresh seed {k}" for who in values for k in (0, 1)}
    for who, expected in values.items():
        run = tests[f"{who} on fresh seed 0"]
        assert run.data.tags["hpopt.confirms"] == who
        assert run.data.params == {name: str(value) for name, value in expected.items()}
    (study,) = [run for run in runs if run.info.run_name == "otter"]
    assert confirmation.default.mean is not None
    shown = result.facts.shown(confirmation.default.mean)
    assert study.data.metrics["test_value_default"] == pytest.approx(shown)
    assert study.data.metrics["test_gain"] == pytest.approx(confirmation.gain)
    assert study.data.metrics["total_cost"] == pytest.approx(result.cost)
    assert result.recommended is not None
    for name in result.space.names:
        told = study.data.tags[f"recommended.{name}"]
        assert told == str(result.recommended.hyperparameters[0][name])
    assert "Recommended:" in study.data.tags["mlflow.note.content"]
    assert result.pages[0].split("?")[0].endswith(f"/runs/{study.info.run_id}")
