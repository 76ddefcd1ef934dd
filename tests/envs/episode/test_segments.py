"""Segments of given tokens: on a tiny model without dropout, simulated."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from hpopt_envs import FineTuneEnv, Outcome, make_env
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import Value
from tests.envs.episode.straying import (
    HORIZON,
    SEGMENT,
    STEP,
    VALUES,
    order,
    owned,
    real,
    same,
    train,
    words,
)


@pytest.mark.parametrize("values", [VALUES, {**VALUES, "divergence_weight": 0.3}])
@pytest.mark.parametrize("cuts", [(4, 4), (1, 7), (2, 1, 3, 2)])
def test_parts_of_a_segment_train_what_the_whole_one_does(
    tiny: FineTuneEnv, values: Mapping[str, Value], cuts: tuple[int, ...]
) -> None:
    tiny.reset(seed=3)
    whole = train(tiny, values, SEGMENT)
    expected = owned(tiny)
    tiny.reset(seed=3)
    parts = [train(tiny, values, STEP * steps) for steps in cuts]
    assert same(owned(tiny), expected)
    assert [part.optimizer_steps for part in parts] == list(cuts)
    assert [part.tokens for part in parts] == [STEP * steps for steps in cuts]
    assert sum(part.cost for part in parts) == pytest.approx(whole.cost)
    loss = np.average([part.train_loss for part in parts], weights=cuts)
    assert loss == pytest.approx(whole.train_loss, abs=1e-6)


def test_parts_of_a_simulated_segment_come_to_where_the_whole_one_does() -> None:
    env = make_env("simulated", trial_tokens=16384, validate_segments=False)
    values = {**env.space.defaults(), "batch_size": 16, "schedule_shape": "constant"}
    env.reset(seed=0)
    train(env, values, 4096)
    expected = owned(env)[0]
    env.reset(seed=0)
    for tokens in (1024, 2048, 1024):
        assert train(env, values, tokens).optimizer_steps == tokens / (16 * 64)
    for name, tensor in owned(env)[0].items():
        torch.testing.assert_close(tensor, expected[name])


@pytest.mark.parametrize("asked", [(200, 312), (1, 511), (180, 180, 152)])
def test_parts_on_ragged_data_are_whole_steps_that_end_where_the_whole_does(
    asked: tuple[int, ...],
) -> None:
    env = words("RaggedWords")
    env.reset(seed=3)
    whole = train(env, VALUES, SEGMENT)
    expected = owned(env)
    env.reset(seed=3)
    ends, steps = 0, 0
    lengths = real(env)._evaluator.data.train["length"]
    drawn = torch.cat([lengths[order(len(lengths), 3, "task", epoch)] for epoch in (0, 1)])
    batches = drawn.reshape(-1, 8)
    for tokens in asked:
        ends += tokens
        part = train(env, VALUES, tokens)
        steps += part.optimizer_steps
        sums = [int(batch.sum()) for batch in batches[:steps]]
        assert part.training_tokens == sum(sums)
        assert sum(sums) >= ends
        assert part.optimizer_steps == 1 or sum(sums[:-1]) < ends
    assert (part.training_tokens, steps) == (whole.tokens, whole.optimizer_steps)
    assert same(owned(env), expected)


def test_a_segment_without_tokens_of_its_own_is_a_whole_one(tiny: FineTuneEnv) -> None:
    tiny.reset(seed=0)
    segment = tiny.train(VALUES)[-1]["segment"]
    assert (segment.tokens, segment.optimizer_steps) == (SEGMENT, SEGMENT // STEP)


def test_a_held_configuration_is_the_same_in_pieces_of_its_trial(tiny: FineTuneEnv) -> None:
    """What the confirmation does: the schedule's positions are shares of the whole trial."""
    values = {**VALUES, **HELD_SHAPE}
    ends = []
    for cut in (SEGMENT, 2 * STEP):
        tiny.reset(seed=1)
        for _ in range(HORIZON // cut):
            train(tiny, values, cut)
        assert tiny.trial.outcome is Outcome.COMPLETED
        ends.append(owned(tiny))
        metrics = tiny.trial.segments[-1].metrics
    assert same(*ends)
    assert dataclasses.replace(tiny.trial.segments[-1], metrics=metrics) == tiny.trial.segments[-1]
