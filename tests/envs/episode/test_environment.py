"""The environment on the simulated run: conformance, semantics, and taking trials up again."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpopt_envs import Control, FineTuneEnv, Outcome, Trial, WorldError, make_env
from hpopt_envs.episode.actions import VIEWS, absolute_action
from hpopt_envs.episode.features import FEATURES
from hpopt_envs.messages import StudyFacts
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.training_run import Evaluation


def env(view: str = "absolute", **settings: Any) -> FineTuneEnv:
    return make_env("simulated", view=view, **settings)


def run_trial(env: FineTuneEnv, seed: int = 0, **values: float) -> tuple[Trial, list[float]]:
    """Hold one configuration to the end; return the trial and its rewards."""
    action = absolute_action(env.space.encode({**env.space.defaults(), **values}))
    env.reset(seed=seed, options={"fixed": HELD_SHAPE})
    rewards = []
    while True:
        _, reward, terminated, truncated, info = env.step(action)
        assert not truncated
        rewards.append(reward)
        if terminated:
            return info["trial"], rewards


@pytest.mark.parametrize("view", VIEWS)
def test_observations_of_random_trials_stay_in_the_declared_space(view: str) -> None:
    made = env(view)
    made.action_space.seed(0)
    for seed in range(30):
        observation, _ = made.reset(seed=seed)
        terminated = False
        while not terminated:
            assert made.observation_space.contains(observation)
            observation, _, terminated, _, _ = made.step(made.action_space.sample())
        assert made.observation_space.contains(observation)


def test_same_seed_same_trial_and_another_seed_another() -> None:
    assert run_trial(env(), 3) == run_trial(env(), 3)
    assert run_trial(env(), 3)[0].value != run_trial(env(), 4)[0].value


def test_a_trial_ends_at_its_horizon_and_its_rewards_add_up_to_its_improvement() -> None:
    made = env()
    trial, rewards = run_trial(made)
    assert trial.outcome is Outcome.COMPLETED
    assert [s.training_tokens for s in trial.path] == [4096 * k for k in range(1, 17)]
    assert trial.value == trial.segments[-1].objective
    improvement = made.facts.base_objective - trial.value
    assert sum(rewards) == pytest.approx(improvement)


def test_without_validation_between_segments_only_the_end_is_measured_and_paid_for() -> None:
    with_it, without = run_trial(env())[0], run_trial(env(validate_segments=False))[0]
    assert [s.objective is None for s in without.segments] == [True] * 15 + [False]
    facts = env().facts
    assert with_it.cost - without.cost == pytest.approx(15 * facts.validation_cost)
    assert without.value == with_it.value


def test_cost_counts_what_the_penalty_adds() -> None:
    made = env(validate_segments=False)
    free, held = (run_trial(made, divergence_weight=w)[0] for w in (0.0, 0.1))
    facts = made.facts
    assert free.cost == pytest.approx(facts.trial_tokens + facts.final_validation_cost)
    # A retained token passes forward and backward (1) and forward in the reference (1/3).
    assert held.cost == pytest.approx(free.cost + facts.trial_tokens * 4 / 3)
    assert [s.penalty for s in free.segments] == [None] * 16


def test_an_explosion_ends_the_trial_without_a_value_and_returns_minus_one() -> None:
    trial, rewards = run_trial(env(), learning_rate=0.035)
    assert trial.outcome is Outcome.EXPLODED
    assert trial.value is None
    assert not trial.can_win
    assert sum(rewards) == pytest.approx(-1.0)


@pytest.mark.parametrize("limit", [0.3, 2.0])
def test_under_a_limit_rewards_add_up_to_the_gain_in_the_constrained_objective(
    limit: float,
) -> None:
    """The default configuration's divergence rises to 0.88: over one of the limits."""
    made, free = env(max_divergence=limit), env()
    (trial, rewards), (expected, free_rewards) = run_trial(made), run_trial(free)
    assert trial == expected  # segments' objectives and the value are the plain ones
    divergences = np.array([segment.metrics["divergence"] for segment in trial.segments])
    objectives = np.array([segment.objective for segment in trial.segments])
    over = np.maximum(0.0, divergences / limit - 1.0)
    assert (over > 0).any() == (limit < divergences[-1])
    gains = np.maximum(made.facts.base_objective - objectives - over, -1.0)
    np.testing.assert_allclose(np.cumsum(rewards), gains)
    if not over.any():
        assert rewards == free_rewards


def test_the_constrained_objective_is_the_formula() -> None:
    facts = dataclasses.replace(env().facts, max_divergence=0.5, objective_scale=100.0)
    ends = {0.0: 30.0, 0.5: 30.0, 0.75: 80.0, 1.5: 230.0, np.inf: np.inf}
    for divergence, expected in ends.items():
        metrics = {"divergence": divergence}
        assert facts.constrained(30.0, metrics) == pytest.approx(expected)
        assert facts.feasible(metrics) == (divergence <= 0.5)
    assert not facts.feasible({"divergence": np.nan})
    assert np.isnan(facts.constrained(30.0, {"divergence": np.nan}))
    free = dataclasses.replace(facts, max_divergence=None)
    assert free.feasible({})
    assert free.constrained(30.0, {}) == 30.0


@pytest.mark.parametrize(("rate", "outcome"), [(2, Outcome.COMPLETED), (4, Outcome.EXPLODED)])
def test_no_trial_returns_less_than_an_explosion(rate: int, outcome: Outcome) -> None:
    """Far beyond a limit, either way is as bad; back within it, a trial is worth what it gained."""
    made = env("relative", max_divergence=0.01)
    made.reset(seed=0)
    rewards, terminated = [made.step([2, 1, 1, 0])[1] for _ in range(4)], False
    while not terminated:
        _, reward, terminated, _, info = made.step([rate, 1, 1, 0])
        rewards.append(reward)
    assert info["trial"].outcome is outcome
    assert made.facts.constrained(3.0, made.trial.segments[3].metrics) > 3.0 + 10.0
    np.testing.assert_allclose(np.cumsum(rewards)[3:], -1.0)


@pytest.mark.parametrize("divergence", [np.inf, np.nan])
def test_under_a_limit_a_divergence_that_is_not_finite_is_an_explosion(divergence: float) -> None:
    made = env(max_divergence=0.3)
    evaluate = made.run.evaluate

    def overflown(*asked: Any) -> Evaluation:
        evaluation = evaluate(*asked)
        metrics = {**evaluation.metrics, "divergence": divergence}
        return dataclasses.replace(evaluation, metrics=metrics)

    made.run.evaluate = overflown  # type: ignore[method-assign]
    trial, rewards = run_trial(made)
    assert (trial.outcome, trial.value, len(trial.segments)) == (Outcome.EXPLODED, None, 1)
    assert sum(rewards) == pytest.approx(-1.0)


def test_stopping_comes_after_its_segment_and_leaves_a_value() -> None:
    made = env("relative")
    made.reset(seed=0)
    _, _, terminated, truncated, info = made.step([2, 1, 1, Control.STOP.value])
    assert (terminated, truncated) == (True, False)
    assert info["trial"].outcome is Outcome.STOPPED
    assert info["trial"].value is not None
    assert len(info["trial"].segments) == 1
    with pytest.raises(WorldError, match="has ended"):
        made.step([2, 1, 1, 0])


def test_a_trial_that_is_saved_and_loaded_elsewhere_continues_bit_for_bit(tmp_path: Path) -> None:
    made, other = env("relative"), env("relative")
    made.reset(seed=5)
    for move in ([4, 1, 2, 0], [1, 0, 1, 0], [2, 2, 0, 0]):
        made.step(move)
    made.save(tmp_path / "trial.safetensors")
    study = StudyFacts(0.5, 0.1, 0.2)
    loaded = other.load(tmp_path / "trial.safetensors", study)
    made.set_study(study)
    assert made.trial == other.trial
    for move in ([3, 1, 1, 0], [0, 1, 1, 0], [2, 1, 1, 1]):
        one, another = made.step(move), other.step(move)
        np.testing.assert_array_equal(one[0], another[0])
        assert one[1:] == another[1:]
    assert loaded.shape == (len(FEATURES),)


def test_a_broken_snapshot_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "trial.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(WorldError, match="must be a snapshot"):
        env().load(tmp_path / "trial.safetensors", StudyFacts())


def test_a_schedule_replays_open_loop_to_the_same_value() -> None:
    made = env("relative", validate_segments=False)
    made.action_space.seed(1)
    made.reset(seed=7)
    for _ in range(16):
        move = made.action_space.sample()
        move[-1] = 0
        *_, info = made.step(move)
    trial = info["trial"]
    made.reset(seed=7)
    for segment in trial.path:
        *_, info = made.train(segment.hyperparameters)
    assert info["trial"] == trial


def test_the_learning_rate_at_the_noise_floor_wants_decay() -> None:
    made = env(validate_segments=False)
    held = [run_trial(made, seed, learning_rate=0.004)[0].value for seed in range(8)]
    action = absolute_action(made.space.encode({**made.space.defaults(), "learning_rate": 0.004}))
    constant = []
    for seed in range(8):
        made.reset(seed=seed)
        for _ in range(16):
            *_, info = made.step(action)
        constant.append(info["trial"].value)
    assert np.mean(held) < np.mean(constant)


def test_a_larger_divergence_weight_keeps_the_model_nearer_to_its_reference() -> None:
    divergence = [
        run_trial(env(), divergence_weight=weight)[0].segments[-1].metrics["divergence"]
        for weight in (0.0, 0.1, 1.0)
    ]
    assert divergence == sorted(divergence, reverse=True)


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text(
        "[parameters.learning_rate]\ntype='float'\nlow=0.1\nhigh=1.0\ndefault=0.5\nlog=true\n"
    )
    with pytest.raises(WorldError, match="must have batch_size"):
        env(space=str(space))
    with pytest.raises(WorldError, match="view: must be one of"):
        env(view="sideways")
