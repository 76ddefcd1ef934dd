"""Probes of the training loss: on a tiny model without dropout, simulated."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from hpopt_envs import Control, FineTuneEnv, Outcome, make_env
from hpopt_envs.training_run import Progress
from tests.envs.episode.straying import (
    SMALL,
    STEP,
    VALUES,
    exploding,
    order,
    owned,
    real,
    same,
    train,
    words,
)
from tests.envs.tiny import VOCABULARY

Tensors = dict[str, torch.Tensor]


def loss_of(weights: Tensors, examples: Tensors) -> float:
    """The mean loss of a table of bigrams on examples that may be padded."""
    ids, length = examples["input_ids"], examples["length"]
    logits = torch.nn.functional.one_hot(ids, VOCABULARY).float() @ weights["model.table.weight"].T
    logs = (logits + weights["model.table.bias"]).log_softmax(-1)
    predicted = logs[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    counts = torch.arange(ids.shape[1] - 1) < length[:, None] - 1
    return -float(predicted[counts].mean())


@pytest.mark.parametrize("task", ["Words", "RaggedWords"])
def test_a_probe_is_the_loss_on_the_same_sixteen_training_examples_and_eight_retained_ones(
    task: str,
) -> None:
    env = words(task)
    data = real(env)._evaluator.data
    assert data.retained_train is not None
    rows = order(len(data.train["length"]), 5, "probe")[:16]
    own = {name: tensor[rows] for name, tensor in data.train.items()}
    size = len(data.retained_train["length"])
    rows = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:8]
    retained = {name: tensor[rows] for name, tensor in data.retained_train.items()}
    base = {f"model.{name}": t for name, t in real(env).weights.model.state_dict().items()}
    before = loss_of(base, retained)
    env.reset(seed=5)
    for _ in range(3):
        segment = train(env, VALUES, STEP, probe=True)
        tensors, _ = owned(env)
        assert segment.probe_loss == pytest.approx(loss_of(tensors, own), rel=1e-5)
        forgetting = loss_of(tensors, retained) - before
        assert segment.probe_forgetting == pytest.approx(forgetting, rel=1e-4, abs=1e-6)
        assert segment.control is Control.PROBE
        probed = int(own["length"].sum() + retained["length"].sum())
        assert segment.cost == pytest.approx(segment.tokens + probed / 3)


def test_another_trial_has_another_probe_batch_and_no_probe_has_no_loss(tiny: FineTuneEnv) -> None:
    losses = []
    for seed in (1, 2, 1):
        tiny.reset(seed=seed)
        losses.append(train(tiny, SMALL, STEP, probe=True).probe_loss)
        assert train(tiny, SMALL, STEP).probe_loss is None
    assert losses[0] == losses[2] != losses[1]


def test_a_probe_changes_nothing(env: FineTuneEnv) -> None:
    values = {**VALUES, "learning_rate": env.space.defaults()["learning_rate"], "dropout": 0.2}
    tokens = env.facts.segment_tokens // 2

    def trained(probe: bool) -> tuple[Any, float, list[float]]:
        torch.manual_seed(0)
        env.reset(seed=4)
        segments = [train(env, values, tokens, probe=probe) for _ in range(3)]
        return owned(env), float(torch.rand(1)), [segment.train_loss for segment in segments]

    without, with_it = trained(False), trained(True)
    assert same(without[0], with_it[0])
    assert without[1:] == with_it[1:]


def test_an_explosion_while_probing_is_an_infinite_loss_and_no_end(env: FineTuneEnv) -> None:
    env.reset(seed=0)
    tokens = env.facts.segment_tokens
    for _ in range(2):  # it may even train on
        segment = train(env, exploding(env), tokens, probe=True)
        assert segment.probe_loss == np.inf
        assert env.observation_space.contains(env._observe())
    assert env.trial.outcome is None
    segment = train(env, SMALL, tokens, probe=True, roll_back=True)
    assert segment.probe_loss is not None
    assert segment.probe_loss < env.facts.exploded_loss
    env.reset(seed=0)
    train(env, exploding(env), tokens)
    assert env.trial.outcome is Outcome.EXPLODED


@pytest.mark.parametrize("task", ["Words", "simulated"])
def test_an_explosion_that_is_probed_is_not_validated(task: str) -> None:
    env = words(validate_segments=True)
    if task == "simulated":
        env = make_env("simulated", trial_tokens=16384)
    env.reset(seed=0)
    segment = train(env, exploding(env), env.facts.segment_tokens, probe=True)
    assert (segment.metrics, segment.objective, env.trial.outcome) == ({}, None, None)
    assert segment.cost == pytest.approx(segment.tokens)
    segment = train(env, SMALL, env.facts.segment_tokens, probe=True, roll_back=True)
    assert segment.objective is not None


@pytest.mark.parametrize("how", [{}, {"control": Control.STOP}])
def test_an_explosion_at_the_end_of_a_trial_is_one_though_it_is_probed(
    env: FineTuneEnv, how: dict[str, Any]
) -> None:
    env.reset(seed=0)
    tokens = env.facts.trial_tokens
    segment = train(env, exploding(env), tokens if not how else tokens // 4, probe=True, **how)
    assert env.trial.outcome is Outcome.EXPLODED
    assert env.trial.reason
    assert env.trial.value is None
    assert segment.probe_loss == np.inf


def test_what_does_not_fit_into_memory_is_not_probed(tiny: FineTuneEnv) -> None:
    run = copy.copy(real(tiny))
    env = FineTuneEnv(run, tiny.space, validate_segments=False)

    def too_large(*asked: Any) -> Progress:
        return run._out_of_memory("out of memory", 4096)

    def raising(*asked: Any) -> Any:
        raise AssertionError("there is no room for a probe either")

    run.advance = too_large  # type: ignore[method-assign, assignment]
    run.probe = raising  # type: ignore[method-assign, assignment]
    env.reset(seed=0)
    assert train(env, VALUES, STEP, probe=True).probe_loss is None
    assert env.trial.outcome is Outcome.OUT_OF_MEMORY
