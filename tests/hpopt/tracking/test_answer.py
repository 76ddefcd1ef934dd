"""A study's run in MLflow has what was asked, and what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpopt
from hpopt.record.history import History
from hpopt.tracking.rows import in_a_word, study_params


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

    asked = {
        "task": "simulated",
        "trials": 3,
        "agent": agent,
        "confirm_seeds": 2,
        "trial_tokens": 4 * 4096,
    }
    result = hpopt.search(**asked, runs=str(tmp_path), name="otter", track="trials")  # type: ignore[arg-type]
    final, chosen = result.final, result.recommendation
    assert final is not None
    assert chosen is not None
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("simulated")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    tests = {run.info.run_name: run for run in runs if "hpopt.confirms" in run.data.tags}
    assert set(tests) == {
        f"{who} on fresh seed {k}" for who, of in final.runs.items() for k in range(len(of))
    }
    for one in final.entrants:
        run, first = tests[f"{one.name} on fresh seed 0"], final.runs[one.name][0]
        assert run.data.tags["hpopt.confirms"] == one.name
        held = one.schedule.hyperparameters
        same = {n: str(v) for n, v in held[0].items() if all(part[n] == v for part in held)}
        assert same.items() <= run.data.params.items()
        objective = run.data.metrics["test/objective"]
        assert objective == pytest.approx(first.segments[-1].test_objective)
    (study,) = [run for run in runs if run.info.run_name == "otter"]
    default, winner = final.tested("default").mean, final.tested(chosen.name).mean
    assert default is not None
    assert winner is not None
    assert study.data.metrics["test_value_default"] == pytest.approx(result.facts.shown(default))
    assert study.data.metrics["test_gain"] == pytest.approx(default - winner)
    assert study.data.tags["recommended"] == chosen.name
    assert study.data.metrics["total_cost"] == pytest.approx(result.cost)
    assert result.recommended is not None
    for name in result.space.names:
        told = study.data.tags[f"recommended.{name}"]
        assert told == in_a_word([part[name] for part in result.recommended.hyperparameters])
    assert "Recommended:" in study.data.tags["mlflow.note.content"]
    assert result.pages[0].split("?")[0].endswith(f"/runs/{study.info.run_id}")
