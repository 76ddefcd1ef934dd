"""`check_task` passes tasks that keep their promises, and catches each broken one."""

from pathlib import Path
from typing import Any

import pytest

from hpopt.testing import check_task
from hpopt_envs.tasks import Task
from tests.hpopt.testing import broken_tasks as broken
from tests.hpopt.testing.failing import fails

SMALL = {"trial_tokens": 2 * 4096}


def test_one_of_our_own_tasks_keeps_its_promises() -> None:
    check_task("lm", **SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["lm-lora", "classify", "text2text", "align", "dpo"])
def test_the_others_keep_theirs(task: str) -> None:
    check_task(task, **SMALL)


@pytest.mark.parametrize("kind", [broken.Fine, broken.FineReference, broken.FineRollouts])
def test_tasks_of_one_s_own_keep_theirs(kind: type[Task]) -> None:
    check_task(kind)


def test_a_task_may_be_named_and_take_settings() -> None:
    check_task(f"{broken.__name__}:Fine", objective="loss:min", space="plain", segment_tokens=1024)


def test_what_trains_nothing_is_checked_as_a_run(tmp_path: Path) -> None:
    check_task("simulated", trial_tokens=4 * 4096)
    (tmp_path / "runs.csv").write_text("task,rate,loss\nx,0.1,2.0\nx,0.2,1.0\n")
    check_task(f"table:{tmp_path / 'runs.csv'}")


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (broken.OtherData, "load_data(): must return the same test at every call"),
        (broken.SeededData, "load_data(): torch's global generator must be left as it was"),
        (broken.UnequalData, "tensors of train must have the same number > 0 of examples"),
        (broken.OtherWeights, "load_model() and prepare(): must make the same weights"),
        (broken.OtherPrepared, "load_model() and prepare(): must make the same weights"),
        (broken.NegativeCost, "prepare(): its token-equivalents must be finite and not negative"),
        (broken.NoTokens, "example_tokens(): must be 5 numbers above 0, but got [0, 1, 2, 3, 4]"),
        (broken.TokensOfBatches, "example_tokens(): must be [5, 5, 5, 5, 5] in parts"),
        (broken.MeanLoss, "loss_sum(): must add up to"),
        (broken.Infinite, "must be a finite scalar that depends on the weights"),
        (broken.InfiniteGradients, "loss_sum(): must have finite gradients of some weights"),
        (broken.Detached, "must be a finite scalar that depends on the weights"),
        (broken.NoisyLoss, "loss_sum(): torch's global generator must be left as it was"),
        (broken.CountsOnce, "loss_count(): must add up to 7 over parts of the batch"),
        (broken.PredictsMean, "predict(): 'losses' must have a row for each of 5 examples"),
        (broken.PredictTrains, "predict(): must leave the model's weights"),
        (broken.PredictInTraining, "predict(): must leave the model in its mode"),
        (broken.ChangesBatch, "predict(): must leave the batch as it is"),
        (broken.Counts, "predict(): must return the same again"),
        (broken.NoObjective, "metrics(): must have 'accuracy', but got ['loss']"),
        (broken.NoLoss, "metrics(): must have 'loss', but got ['accuracy']"),
        (broken.NotANumber, "metrics(): 'share' must be finite, but got nan"),
        (broken.Unmasked, "must be logits (n, ..., classes) and a boolean mask (n, ...)"),
        (broken.Misshapen, "logits() must return logits (n, ..., classes) and a mask"),
        (broken.Miscounted, "the mask of logits() must count what logits_count() does"),
        (broken.CountsPairs, "logits_count(): must add up to 4 over parts of the batch"),
        (broken.WritesLess, "write(): must return 5 rows or none, but got 4"),
        (broken.WritesNoText, 'write(): each row must have the texts "prompt" and "text"'),
        (broken.RollsOutOnce, "rollout(): must return 20 rows (samples_per_example)"),
        (broken.Averages, "weigh(): must return the same again"),
        (broken.TrainsAnew, "a trial of the same seed must be the same again"),
    ],
)
def test_a_broken_promise_is_told_in_a_line(kind: type[Task], line: str) -> None:
    fails(line, check_task, kind)


def test_what_is_no_task_is_told_in_a_line() -> None:
    no_task: Any = dict
    fails("builtins:dict must be a subclass of hpopt_envs.Task", check_task, no_task)
    fails("task: must be 'lm'", check_task, "lmm")
    fails("trial_token", check_task, broken.Fine, trial_token=1)
