"""A baseline is what a user has now, whether the space has it or not."""

from pathlib import Path
from typing import Any

import pytest

import hpopt
from tests.hpopt.searching import resume, search

OUTSIDE = {"batch_size": 128, "learning_rate": 5e-5, "schedule_shape": "cosine"}


def held_by(result: hpopt.StudyResult, trial: int) -> dict[str, Any]:
    segments = result.history.trials[trial].segments
    first = dict(segments[0].hyperparameters)
    assert all(segment.hyperparameters == first for segment in segments)
    return first


def test_it_is_trained_as_it_is_and_judged_beside_the_winner(tmp_path: Path) -> None:
    result = search(tmp_path, baseline=OUTSIDE, trials=5, confirm_seeds=1)
    assert result.facts.baseline == {"batch_size": 128, "schedule_shape": "cosine"}
    of_baseline = [held_by(result, trial) for trial in sorted(result.history.tests)][-1]
    assert OUTSIDE.items() <= of_baseline.items()
    begun = held_by(result, 0)  # the nearest that the space has
    assert (begun["batch_size"], begun["learning_rate"]) == (64, 5e-5)
    (note,) = result.facts.notes
    assert "batch_size=128" in note
    assert "searchers begin at batch_size=64" in note
    assert result.facts.segment_tokens % (128 * result.facts.sequence_length) == 0
    longer = resume(tmp_path, trials=6)
    assert longer.facts == result.facts
    assert OUTSIDE.items() <= held_by(longer, max(longer.history.tests)).items()


def test_one_in_the_space_is_its_default_as_before(tmp_path: Path) -> None:
    result = search(tmp_path, baseline={"learning_rate": 2e-5, "batch_size": 8}, trials=2)
    assert result.facts.baseline == {}
    assert result.facts.notes == ()
    assert result.space.defaults()["learning_rate"] == 2e-5


def test_a_baseline_on_a_real_model_may_have_another_optimizer(tmp_path: Path) -> None:
    small: dict[str, Any] = {"trials": 1, "trial_tokens": 4096, "confirm_seeds": 1}
    theirs = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0.0}
    result = hpopt.search(
        task="lm", agent="random-cold", baseline=theirs, runs=str(tmp_path), name="otter", **small
    )
    assert theirs.items() <= held_by(result, max(result.history.tests)).items()
    assert "optimizer" not in held_by(result, 0)


@pytest.mark.parametrize(
    ("baseline", "line"),
    [
        ({"batch_size": 48}, "baseline: batch_size must divide the space's largest, 64"),
        ({"optimizer": "adamm"}, "baseline: every optimizer must be among"),
        ({"temperature": 1.0}, "baseline: training has no hyperparameter 'temperature'"),
        ({"lora_rank": 4}, "baseline: must train what the trials train"),
        ({"learning_rate": "fast"}, "baseline: learning_rate"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    baseline: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(hpopt.HpoptError) as refused:
        search(tmp_path, baseline=baseline)
    assert str(refused.value).startswith(line)
    assert not (tmp_path / "otter").exists()
