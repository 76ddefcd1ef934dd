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


def in_the_final(result: hpopt.StudyResult, name: str) -> list[dict[str, Any]]:
    assert result.final is not None
    return [held_by(result, trial.id) for trial in result.final.runs[name]]


def test_it_is_trained_as_it_is_and_judged_beside_the_default(tmp_path: Path) -> None:
    result = search(tmp_path, baseline=OUTSIDE, trials=5, confirm_seeds=1)
    assert result.facts.baseline == OUTSIDE
    (baseline,), (default,) = (in_the_final(result, name) for name in ("baseline", "default"))
    assert OUTSIDE.items() <= baseline.items()
    assert result.space.defaults().items() <= default.items()
    first, tried = held_by(result, 0), held_by(result, 1)  # the nearest that the space has
    assert result.space.defaults().items() <= first.items()
    assert (tried["batch_size"], tried["learning_rate"]) == (64, 5e-5)
    (note,) = result.facts.notes
    assert "batch_size=128" in note
    assert "searchers try batch_size=64 in its place" in note
    assert result.facts.segment_tokens % (128 * result.facts.sequence_length) == 0
    longer = resume(tmp_path, trials=6)
    assert longer.facts == result.facts
    assert OUTSIDE.items() <= in_the_final(longer, "baseline")[0].items()


def test_the_default_stays_our_own_beside_one_in_the_space(tmp_path: Path) -> None:
    plain = search(tmp_path / "plain", trials=2)
    result = search(tmp_path, baseline={"learning_rate": 2e-4, "batch_size": 8}, trials=2)
    assert result.facts.baseline == {"learning_rate": 2e-4, "batch_size": 8}
    assert result.facts.notes == ()
    assert result.space.defaults() == plain.space.defaults()


def test_what_a_baseline_does_not_say_is_the_default_s(tmp_path: Path) -> None:
    result = search(tmp_path, baseline={"learning_rate": 2e-4}, trials=2)
    (baseline, *_) = in_the_final(result, "baseline")
    default = result.space.defaults()
    assert {n: baseline[n] for n in default} == {**default, "learning_rate": 2e-4}


def test_one_that_is_the_default_is_run_once(tmp_path: Path) -> None:
    default = search(tmp_path / "plain", trials=1).space.defaults()
    result = search(tmp_path, baseline=default, trials=2)
    assert result.final is not None
    assert "baseline" not in result.final.runs
    assert held_by(result, 1) != held_by(result, 0)


def test_a_baseline_on_a_real_model_may_have_another_optimizer(tmp_path: Path) -> None:
    small: dict[str, Any] = {"trials": 1, "trial_tokens": 4096, "confirm_seeds": 1}
    theirs = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0.0}
    result = hpopt.search(
        task="lm", agent="random-cold", baseline=theirs, runs=str(tmp_path), name="otter", **small
    )
    assert theirs.items() <= in_the_final(result, "baseline")[0].items()
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
