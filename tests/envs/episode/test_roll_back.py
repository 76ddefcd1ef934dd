"""Roll-backs: on a tiny model without dropout, simulated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpopt_envs import Control, FineTuneEnv, Outcome, Trial, WorldError, make_env
from hpopt_envs.messages import Advance, Start, StudyFacts
from hpopt_envs.serving import serve
from tests.envs.episode.straying import (
    FLAT,
    HUGE,
    SEGMENT,
    SMALL,
    STEP,
    VALUES,
    exploding,
    owned,
    same,
    told,
    train,
    words,
)

OPTIMIZERS = ["adamw", "momentum", "adagrad", "sgd", "schedule-free"]


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


def test_an_action_rolls_back_to_the_best_validated_point(tmp_path: Path) -> None:
    env = make_env("simulated", view="relative")
    env.reset(seed=3)
    moves = [[2, 1, 1, 0]] * 4 + [[4, 1, 1, 0]] * 3 + [[2, 1, 1, 0]] * 4
    values = [env.step(move)[4]["segment"].objective for move in moves]
    best = int(np.argmin(values))
    assert best < len(moves) - 1, values
    env.save(tmp_path / "trial.safetensors")
    other = env.twin()
    other.load(tmp_path / "trial.safetensors", StudyFacts())
    for one in (env, other):
        segment = one.step([0, 1, 1, Control.ROLL_BACK.value])[4]["segment"]
        assert (segment.parent, segment.control) == (best, Control.ROLL_BACK)
        assert segment.training_tokens == (best + 2) * 4096
    assert same(owned(env), owned(other))


def test_an_action_that_probes_outlives_an_explosion_and_rolls_it_back() -> None:
    env = make_env("simulated", view="relative", validate_segments=False)
    env.reset(seed=3)
    probe, losses = Control.PROBE.value, []
    while not losses or losses[-1] != np.inf:
        _, reward, *_, info = env.step([4, 1, 1, probe])
        losses.append(info["segment"].probe_loss)
        assert reward == 0.0
    assert len(losses) > 1
    segment = env.step([0, 1, 1, Control.ROLL_BACK.value])[4]["segment"]
    assert segment.parent == int(np.argmin(losses))
    assert env.trial.outcome is None


def test_where_nothing_was_measured_an_action_rolls_back_to_the_base_weights() -> None:
    env = make_env("simulated", view="discrete", validate_segments=False)
    env.reset(seed=3)
    env.step(0)
    segment = env.step(8)[4]["segment"]
    assert (segment.control, segment.parent) == (Control.ROLL_BACK, None)


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
