"""One real study of each family of searchers on the embedded model, run twice."""

from pathlib import Path

import pytest

from hpopt.settings.study import Settings
from hpopt.study.opening import begin
from hpopt.study.result import StudyResult
from tests.hpopt.searching import run


def study(folder: Path, agent: str) -> StudyResult:
    """Search without MLflow: its process is made, and never started."""
    asked = {"agent": agent, "trials": 2, "trial_tokens": 8192, "confirm_seeds": 0, "seed": 1}
    settings = Settings.of({**asked, "runs": str(folder), "name": agent})
    return run(begin(settings))


@pytest.mark.parametrize("agent", ["gp", "grid", "dqn-from-scratch"])
def test_a_real_study_repeats_and_betters_the_base_model(agent: str, tmp_path: Path) -> None:
    first, second = (study(tmp_path / run, agent) for run in ("first", "second"))
    assert [trial.value for trial in first.trials] == [trial.value for trial in second.trials]
    assert first.trials == second.trials
    assert first.history.training_tokens <= 2 * 8192
    assert first.best_value is not None
    assert first.best_value < first.facts.base_objective
    assert (first.folder / "best" / "model.safetensors").is_file()
