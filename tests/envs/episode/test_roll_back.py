"""Segments of given tokens, probes and roll-backs: on a tiny model without dropout, simulated."""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpopt_envs import Control, FineTuneEnv, Outcome, Segment, Trial, WorldError, make_env
from hpopt_envs.messages import Advance, Start, StudyFacts
from hpopt_envs.randomness import key
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.serving import serve
from hpopt_envs.training.real import RealRun
from hpopt_envs.training_run import Progress
from hpopt_search_spaces import Value
from tests.envs.tiny import HERE, VOCABULARY

STEP = 64  # tokens: 8 examples of 8
SEGMENT = 512
HORIZON = 8 * SEGMENT
VALUES: dict[str, Value] = {
    "learning_rate": 0.01,
    "batch_size": 8,
    "divergence_weight": 0.0,
    "schedule_shape": "linear",
    "warmup_fraction": 0.1,
}
FLAT = {**VALUES, "schedule_shape": "constant", "warmup_fraction": 0.0}
SMALL = {**FLAT, "learning_rate": 1e-5}
HUGE = {**FLAT, "learning_rate": 1e9, "optimizer": "sgd"}
STEEP = {**FLAT, "learning_rate": 0.05}  # explodes in the simulated task, but doesn't overflow


def words(task: str = "Words", **settings: Any) -> FineTuneEnv:
    return make_env(
        f"{HERE}:{task}",
        model=f"{HERE}:Bigrams",
        segment_tokens=SEGMENT,
        trial_tokens=HORIZON,
        device="cpu",
        **{"validate_segments": False, **settings},
    )


@pytest.fixture(scope="module")
def tiny() -> FineTuneEnv:
    return words()


@pytest.fixture(params=["Words", "simulated"])
def env(request: pytest.FixtureRequest, tiny: FineTuneEnv) -> FineTuneEnv:
    if request.param == "Words":
        return tiny
    return make_env("simulated", trial_tokens=16384, validate_segments=False)


def real(env: FineTuneEnv) -> RealRun:
    assert isinstance(env.run, RealRun)
    return env.run


def owned(env: FineTuneEnv) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All that a trial has: weights, moments, cursors, tokens."""
    return env.run.snapshot(env.position.state)


def same(one: Any, other: Any) -> bool:
    (tensors, meta), (others, other_meta) = one, other
    equal = all(torch.equal(tensors[name], others[name]) for name in tensors)
    return tensors.keys() == others.keys() and equal and meta == other_meta


def told(trial: Trial) -> str:
    """Everything about a trial but how long it took; NaN is the same as NaN."""
    segments = [vars(segment) | {"wall_seconds": 0.0} for segment in trial.segments]
    return repr(vars(trial) | {"segments": segments})


def exploding(env: FineTuneEnv) -> Mapping[str, Value]:
    return STEEP if env.facts.task == "simulated" else HUGE


def train(env: FineTuneEnv, values: Mapping[str, Value], tokens: int, **how: Any) -> Segment:
    segment = env.train(values, tokens=tokens, **how)[-1]["segment"]
    assert isinstance(segment, Segment)
    return segment


def order(size: int, *what: Any) -> torch.Tensor:
    """Examples in the order that is drawn for something."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(key(*what)))


# ---- segments of given tokens


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


# ---- probes


@pytest.mark.parametrize("task", ["Words", "RaggedWords"])
def test_a_probe_is_the_loss_on_the_same_sixteen_training_examples(task: str) -> None:
    env = words(task)
    data = real(env)._evaluator.data.train
    rows = order(len(data["length"]), 5, "probe")[:16]
    ids, length = data["input_ids"][rows], data["length"][rows]
    env.reset(seed=5)
    for _ in range(3):
        segment = train(env, VALUES, STEP, probe=True)
        tensors, _ = owned(env)
        weight, bias = tensors["model.table.weight"], tensors["model.table.bias"]
        logits = torch.nn.functional.one_hot(ids, VOCABULARY).float() @ weight.T + bias
        predicted = logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
        counts = torch.arange(ids.shape[1] - 1) < length[:, None] - 1
        expected = -float(predicted[counts].mean())
        assert segment.probe_loss == pytest.approx(expected, rel=1e-5)
        assert segment.control is Control.PROBE
        assert segment.cost == pytest.approx(segment.tokens + int(length.sum()) / 3)


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


# ---- roll-backs


OPTIMIZERS = ["adamw", "momentum", "adagrad", "sgd"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_after_a_roll_back_a_trial_goes_on_as_if_it_had_never_gone_astray(
    tiny: FineTuneEnv, optimizer: str
) -> None:
    good = {**VALUES, "optimizer": optimizer, "divergence_weight": 0.1}

    def trial(*astray: float) -> Any:
        tiny.reset(seed=6)
        for _ in range(2):
            train(tiny, good, 2 * STEP, probe=True)
        for rate in astray:
            train(tiny, {**good, "learning_rate": rate}, STEP, probe=True)
        train(tiny, good, 3 * STEP, roll_back=bool(astray))
        losses.append([segment.probe_loss for segment in tiny.trial.segments])
        return owned(tiny)

    losses: list[list[Any]] = []
    straight = trial()
    assert same(trial(1e4), straight)
    assert same(trial(1e4, 1e30), straight)
    assert [loss > losses[-1][1] for loss in losses[-1][2:4]] == [True, True]
    assert losses[-1][3] == np.inf
    assert not same(trial(1e-3), straight)  # that was better: it goes on from there
    assert losses[-1][2] < losses[-1][1]


def test_a_simulated_trial_rolls_back_too() -> None:
    env = make_env("simulated", trial_tokens=65536, validate_segments=False)
    good = env.space.defaults()

    def trial(astray: bool) -> Any:
        env.reset(seed=6)
        train(env, good, 4096, probe=True)
        if astray:
            train(env, {**good, "learning_rate": 0.5}, 4096, probe=True)
        train(env, good, 4096, roll_back=astray)
        return owned(env)

    assert same(trial(True), trial(False))


def test_a_trial_can_go_back_to_the_same_point_again_and_again(tiny: FineTuneEnv) -> None:
    tiny.reset(seed=1)
    train(tiny, VALUES, SEGMENT, probe=True)
    best = owned(tiny)
    for k in range(3):
        segment = train(tiny, {**VALUES, "learning_rate": 1e4}, STEP, probe=True, roll_back=k > 0)
        assert segment.parent == 0
        assert segment.training_tokens == SEGMENT + STEP
    tiny.position.roll_back()
    assert same(owned(tiny), best)


@pytest.mark.parametrize("probed", [False, True])
def test_without_a_probed_point_it_goes_back_to_the_base_weights(
    env: FineTuneEnv, probed: bool
) -> None:
    tokens = env.facts.segment_tokens
    env.reset(seed=2)
    train(env, SMALL, tokens)
    straight = owned(env)
    env.reset(seed=2)
    # An infinite loss is no point to go back to.
    train(env, exploding(env) if probed else SMALL, tokens, probe=probed)
    segment = train(env, SMALL, tokens, roll_back=True)
    assert (segment.parent, segment.training_tokens) == (None, tokens)
    assert same(owned(env), straight)
    assert [s.id for s in env.trial.path] == [1]
    assert segment.control is Control.ROLL_BACK


def astray(env: FineTuneEnv, seed: int = 0) -> tuple[Trial, list[float]]:
    """A trial that rolls back from segment 2 to 1, and from 4 to 3, and goes on to its end."""
    rate = float(env.space.defaults()["learning_rate"])
    good, bad = ({**FLAT, "learning_rate": r, "batch_size": 8} for r in (rate, 1e3 * rate))
    asked = [(good, False), (good, False), (bad, False), (good, True), (bad, False), (good, True)]
    env.reset(seed=seed)
    rewards, ended = [], False
    while not ended:
        values, back = asked.pop(0) if asked else (good, False)
        _, reward, ended, _, info = env.train(
            values, tokens=env.facts.trial_tokens // 16, probe=True, roll_back=back
        )
        rewards.append(reward)
    trial = info["trial"]
    assert isinstance(trial, Trial)
    return trial, rewards


def test_the_path_leaves_out_what_was_rolled_back_and_the_horizon_counts_it(
    env: FineTuneEnv,
) -> None:
    trial, _ = astray(env)
    tokens = env.facts.trial_tokens // 16
    assert trial.outcome is Outcome.COMPLETED
    assert trial.trained_tokens == env.facts.trial_tokens
    assert [segment.parent for segment in trial.segments[:7]] == [None, 0, 1, 1, 3, 3, 5]
    assert [segment.id for segment in trial.path] == [0, 1, 3, *range(5, 16)]
    counted = [segment.training_tokens for segment in trial.path]
    assert counted == [tokens * k for k in range(1, len(trial.path) + 1)]
    assert trial.segments[-1].training_tokens == 14 * tokens
    assert trial.value == trial.path[-1].objective


@pytest.mark.parametrize("task", ["Words", "simulated"])
def test_rewards_add_up_to_the_improvement_whatever_was_rolled_back(task: str) -> None:
    env = words(validate_segments=True)
    if task == "simulated":
        env = make_env("simulated", trial_tokens=65536)
    trial, rewards = astray(env)
    assert trial.value is not None
    gain = (env.facts.base_objective - trial.value) / env.facts.objective_scale
    assert sum(rewards) == pytest.approx(gain)
    assert min(rewards) < 0.0 < max(rewards)  # there and back


def test_a_path_replays_open_loop_to_the_same_end(env: FineTuneEnv) -> None:
    trial, _ = astray(env, seed=9)
    end = owned(env)
    env.reset(seed=9)
    for segment in trial.path:
        info = env.train(
            segment.hyperparameters,
            Control.STOP if segment is trial.path[-1] else Control.CONTINUE,
            tokens=segment.tokens,
        )[-1]
    assert same(owned(env), end)
    assert info["trial"].outcome is Outcome.STOPPED
    measured = info["trial"].segments[-1].metrics
    if env.facts.task != "simulated":  # whose noise is keyed by what a trial trained on
        assert measured == trial.segments[-1].metrics


def test_a_ragged_trials_path_replays_to_the_same_tokens() -> None:
    env = words("RaggedWords")
    trial, _ = astray(env, seed=9)
    end = owned(env)
    env.reset(seed=9)
    replayed = [train(env, segment.hyperparameters, segment.tokens) for segment in trial.path]
    assert [s.tokens for s in replayed] == [s.tokens for s in trial.path]
    tensors, meta = owned(env)
    assert same((tensors, meta | {"mark": 0}), (end[0], end[1] | {"mark": 0}))


def test_a_trial_that_is_taken_up_elsewhere_has_its_best_point_with_it(
    env: FineTuneEnv, tmp_path: Path
) -> None:
    rate = float(env.space.defaults()["learning_rate"])
    good, bad = {**FLAT, "learning_rate": rate}, {**FLAT, "learning_rate": 1e3 * rate}
    tokens = env.facts.trial_tokens // 16
    other = env.twin()
    env.reset(seed=8)
    train(env, good, tokens, probe=True)
    train(env, bad, tokens, probe=True)
    train(env, exploding(env), tokens, probe=True)
    env.save(tmp_path / "trial.safetensors")
    other.load(tmp_path / "trial.safetensors", StudyFacts())
    for one in (env, other):
        train(one, good, tokens, probe=True, roll_back=True)
        train(one, bad, tokens, probe=True)
        train(one, good, tokens, roll_back=True)
    assert same(owned(env), owned(other))
    assert told(env.trial) == told(other.trial)
    assert [segment.parent for segment in env.trial.segments] == [None, 0, 1, 0, 3, 3]


def test_a_new_trial_knows_nothing_of_the_last_ones_best_point(tiny: FineTuneEnv) -> None:
    tiny.reset(seed=1)
    train(tiny, VALUES, SEGMENT, probe=True)
    tiny.reset(seed=1)
    train(tiny, SMALL, STEP)
    assert train(tiny, SMALL, STEP, roll_back=True).parent is None


def test_a_request_says_all_of_it(tiny: FineTuneEnv) -> None:
    serve(tiny, Start(trial=3, seed=7))
    first = serve(tiny, Advance(hyperparameters=VALUES, tokens=STEP, probe=True))
    serve(tiny, Advance(hyperparameters=HUGE, tokens=STEP, probe=True))
    last = serve(tiny, Advance(hyperparameters=VALUES, tokens=STEP, roll_back=True, last=True))
    assert first.segment is not None
    assert last.segment is not None
    assert (first.segment.tokens, first.segment.control) == (STEP, Control.PROBE)
    assert (last.segment.parent, last.segment.probe_loss) == (0, None)
    assert last.outcome is Outcome.STOPPED
    assert last.value == last.segment.objective


def test_a_trial_that_has_ended_does_not_roll_back(tiny: FineTuneEnv) -> None:
    tiny.reset(seed=0)
    train(tiny, VALUES, STEP, control=Control.STOP)
    with pytest.raises(WorldError, match="has ended"):
        train(tiny, VALUES, STEP, roll_back=True)


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
