"""The pool's trial and a `Trainer` are steered alike: the same data, model and seed."""

import copy
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from transformers import Trainer

from hpopt.live import Controller
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Control, Trial
from tests.hpopt.live.runs import arguments, probes, rates
from tests.hpopt.searchers.range_testing import MakePool, rate_of
from tests.hpopt.searching import make_searcher

BATCH, TOKENS, WEIGHT = 4, 8, 0.5  # rows a step, tokens a row, of forgetting
SETTINGS: dict[str, Any] = {
    "fixed": {"batch_size": BATCH, "divergence_weight": 0.0, "weight_decay": 0.0},
    "forgetting_weight": WEIGHT,
    "trial_tokens": 128 * BATCH * TOKENS,
    "device": "cpu",
}
made: list[FineTuneEnv] = []
drawn: list[int] = []  # rows of the training data, as the pool's trials draw them


def watched_env(**settings: Any) -> FineTuneEnv:
    """The tiny task, whose draws are written down."""
    env = make_env("tests.envs.tiny:Words", **settings)
    run: Any = env.run
    draw = run._draw

    def watch(state: Any, purpose: str, size: int) -> Any:
        batch, tokens = draw(state, purpose, size)
        train = env.run._splits["task"]["input_ids"]  # type: ignore[attr-defined]
        for row in batch["input_ids"]:
            drawn.append(int((train == row).all(1).nonzero()[0, 0]))
        return batch, tokens

    run._draw = watch
    made.append(env)
    return env


class InOrder(Trainer):
    """Trains on the rows that the pool's trial drew."""

    def _get_train_sampler(self, *_: Any) -> Any:
        return drawn


def space_around(default: float) -> dict[str, Any]:
    rate = {"name": "learning_rate", "type": "float", "log": True, "dynamic": True}
    return {"name": "rates", "parameters": [{**rate, "default": default, "octaves": [-6, 5]}]}


def pool_trial(make_pool: MakePool, default: float) -> Trial:
    """The trial that the range test runs."""
    factory, space = f"{__name__}:watched_env", space_around(default)
    pool = make_pool("range-test", trials=1, factory=factory, space=space, **SETTINGS)
    make_searcher("range-test", trials=1, seed=0).search(pool)
    (trial,) = pool.trials
    return trial


def trainer_run(trial: Trial, default: float, steps: int, out: Path) -> Any:
    """A run on the same rows in the same order, from the same weights, as long as the trial was.

    The trial pays for its probes with steps; a trainer's are all trained.
    """
    run: Any = made[0].run
    run.weights.use_base()
    data = run._evaluator.data
    rows = [{"input_ids": ids, "labels": ids} for ids in data.train["input_ids"].tolist()]
    retained = [{"input_ids": ids} for ids in data.retained_train["input_ids"].tolist()]
    asked = arguments(
        out,
        per_device_train_batch_size=BATCH,
        learning_rate=default,
        max_steps=steps,
        data_seed=trial.seed,
    )
    steered = Controller(retained, forgetting_weight=WEIGHT)
    ran = InOrder(copy.deepcopy(run.weights.model), asked, train_dataset=rows, callbacks=[steered])
    ran.train()
    return ran


@pytest.mark.parametrize(("default", "rolls_back"), [(0.0016, False), (0.05, True)])
def test_both_hosts_are_steered_alike(
    default: float, rolls_back: bool, make_pool: MakePool, tmp_path: Path
) -> None:
    drawn.clear()
    made.clear()
    trial = pool_trial(make_pool, default)
    segments = trial.segments
    steps = sum(segment.optimizer_steps for segment in segments)
    assert len(drawn) == BATCH * steps
    ran = trainer_run(trial, default, steps, tmp_path)

    probed, seen = segments[:-1], probes(ran)[:-1]  # only the trainer probes its end
    assert [rate_of(segment) for segment in probed] == [at["hpopt/learning_rate"] for at in seen]
    ends = list(accumulate(segment.optimizer_steps for segment in segments))
    assert ends[:-1] == [at["step"] for at in seen]
    back = [segment.control is Control.ROLL_BACK for segment in segments[1:]]
    assert back == [bool(at["hpopt/rolled_back"]) for at in seen]
    assert any(back) == rolls_back
    for name in ("probe_loss", "probe_forgetting"):  # kernels differ in their last digits
        ours = [getattr(segment, name) for segment in probed]
        assert [at[f"hpopt/{name}"] for at in seen] == pytest.approx(ours, rel=1e-4, abs=1e-6)
    each = [rate_of(s) for s in probed for _ in range(s.optimizer_steps)]
    assert rates(ran)[: len(each)] == each
    last = rates(ran)[len(each) :]  # on a line to zero, around the same rate
    assert mean(last) == pytest.approx(rate_of(segments[-1]))
    assert last[-1] == pytest.approx(2 * rate_of(segments[-1]) / (len(last) + 1))
