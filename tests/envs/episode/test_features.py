"""Observation and reward as array functions: the table, and one trial against many."""

import dataclasses

import numpy as np
import pytest

from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.episode.features import FEATURES, HIGH, LOW, Traces, observe, reward
from hpopt_envs.episode.traces import trace
from hpopt_envs.messages import StudyFacts

INDEX = {feature.name: i for i, feature in enumerate(FEATURES)}


def played(
    moves: list[list[int]], max_divergence: float | None = None
) -> tuple[FineTuneEnv, np.ndarray]:
    env = make_env("simulated", view="relative", max_divergence=max_divergence)
    observation, _ = env.reset(seed=0)
    for move in moves:
        observation, *_ = env.step(move)
    return env, observation


def test_names_are_unique_and_bounds_are_finite() -> None:
    assert len(INDEX) == len(FEATURES)
    assert np.isfinite(LOW).all()
    assert np.isfinite(HIGH).all()
    assert (LOW < HIGH).all()


def test_a_new_trial_observes_no_measurements() -> None:
    _, observation = played([])
    for name in ("progress", "train_loss", "improvement", "gradient_norm", "divergence", "rank"):
        assert observation[INDEX[name]] == 0.0
    assert observation[INDEX["has_learning_rate"]] == 1.0
    assert observation[INDEX["budget_left"]] == 1.0
    assert observation[INDEX["parameters"]] == pytest.approx(np.log10(560_000))


def test_features_say_what_happened() -> None:
    env, observation = played([[0, 1, 2, 0], [3, 2, 1, 0]])
    first, last = env.trial.segments
    facts = env.facts
    expected = {
        "progress": 2 / 16,
        "train_loss": np.log(last.train_loss / facts.base_loss),
        "train_loss_slope_1": np.log(last.train_loss / first.train_loss),
        "train_loss_slope_4": np.log(last.train_loss / first.train_loss),
        "improvement": facts.base_objective - (last.objective or 0.0),
        "improvement_slope_1": (first.objective or 0.0) - (last.objective or 0.0),
        "z_learning_rate": -0.5,
        "z_batch_size": 1.0,
        "z_divergence_weight": 1.0,
        "move_learning_rate": 0.5,
        "earlier_move_learning_rate": -1.0,
        "move_divergence_weight": 0.0,
        "divergence": last.metrics["divergence"],
    }
    for name, value in expected.items():
        assert observation[INDEX[name]] == pytest.approx(value, abs=1e-4), name


def test_under_a_limit_the_improvement_is_that_of_the_constrained_objective() -> None:
    free_env, free = played([[2, 1, 0, 0]] * 3)
    last = free_env.trial.segments[-1]
    limit = last.metrics["divergence"] / 1.5
    over = 0.5
    env, observation = played([[2, 1, 0, 0]] * 3, max_divergence=limit)
    improvement = env.facts.base_objective - (last.objective or 0.0) - over
    assert observation[INDEX["improvement"]] == pytest.approx(improvement, abs=1e-4)
    assert free[INDEX["improvement"]] == pytest.approx(improvement + over, abs=1e-4)


def test_a_divergence_weight_of_zero_has_a_flag_of_its_own() -> None:
    env, observation = played([[2, 1, 0, 0]] * 5)
    assert env.trial.segments[-1].hyperparameters["divergence_weight"] == 0.0
    assert observation[INDEX["divergence_weight_is_zero"]] == 1.0


@pytest.mark.parametrize(
    ("scales", "expected"),
    [((None, None), (0.0, 0.0)), ((None, 2.5), (np.log(2.5), 1.0)), ((2.5, None), (0.0, 0.0))],
)
def test_the_noise_scale_is_observed_where_the_last_segment_has_one(
    scales: tuple[float | None, ...], expected: tuple[float, float]
) -> None:
    env, _ = played([[2, 1, 1, 0]] * 2)
    segments = tuple(
        dataclasses.replace(segment, noise_scale=scale)
        for segment, scale in zip(env.trial.path, scales, strict=True)
    )
    trial = dataclasses.replace(env.trial, segments=segments)
    traces = trace(env.space, env.facts, env.space.default_unit, trial, StudyFacts())
    observation = observe(traces)[0]
    for name, value in zip(("noise_scale", "has_noise_scale"), expected, strict=True):
        assert observation[INDEX[name]] == pytest.approx(value)


def test_many_trials_at_once_observe_what_each_observes_alone() -> None:
    games = [[[2, 1, 1, 0]] * 3, [[1, 2, 0, 0]] * 5, []]
    alone, single = [], []
    for moves in games:
        env, observation = played(moves)
        alone.append(observation)
        single.append(trace(env.space, env.facts, env.space.default_unit, env.trial, StudyFacts()))
    width = max(t.train_loss.shape[1] for t in single)

    def stacked(name: str) -> np.ndarray:
        arrays = [getattr(t, name) for t in single]
        if arrays[0].ndim == 1 or name in ("constants", "study"):
            return np.concatenate(arrays)
        wide = width + (name == "ratios")
        pads = [((0, 0), (0, wide - a.shape[1])) + ((0, 0),) * (a.ndim - 2) for a in arrays]
        padded = [np.pad(a, p, constant_values=np.nan) for a, p in zip(arrays, pads, strict=True)]
        return np.concatenate(padded)

    together = observe(Traces(**{name: stacked(name) for name in Traces.__dataclass_fields__}))
    np.testing.assert_array_equal(together, np.stack(alone))


def test_rewards_telescope_down_to_a_floor_that_is_an_explosions() -> None:
    after, exploded = np.array([0.5, 9.9, -30.0, 0.1]), np.array([False, True, False, False])
    returned = np.array([0.2, 0.2, 0.2, -1.0])
    np.testing.assert_allclose(reward(after, exploded, returned), [0.3, -1.2, -1.2, 1.1])


def test_slopes_reach_back_to_the_first_segment_where_there_are_no_more() -> None:
    env, observation = played([[2, 1, 1, 0]] * 7)
    losses = [segment.train_loss for segment in env.trial.path]
    for back, index in ((1, 5), (4, 2), (16, 0)):
        expected = np.log(losses[6] / losses[index])
        assert observation[INDEX[f"train_loss_slope_{back}"]] == pytest.approx(expected, abs=1e-4)
    _, first = played([[2, 1, 1, 0]])
    assert all(first[INDEX[name]] == 0.0 for name in INDEX if "slope" in name)
