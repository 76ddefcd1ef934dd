"""The environment among Gymnasium's tools: checkers, rendering, pickles, vectors."""

import copy
import pickle
import runpy
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from hpopt_envs import Control, FineTuneEnv, Outcome, WorldError, make_env
from hpopt_envs.episode.actions import VIEWS
from tests.envs.episode.straying import words

NAME = "hpopt_envs:hpopt/FineTune-v0"
ON, STOP = [2, 1, 1, 0], [2, 1, 1, Control.STOP.value]


@pytest.mark.parametrize("render_mode", [None, "ansi"])
@pytest.mark.parametrize("view", VIEWS)
def test_passes_both_checkers(view: str, render_mode: str | None) -> None:
    made = gymnasium.make(NAME, task="simulated", view=view, render_mode=render_mode)
    gymnasium_check_env(made.unwrapped)
    with warnings.catch_warnings():
        # SB3's advice to normalise the observation; policies of ours see it through VecNormalize
        warnings.filterwarnings("ignore", message=".*normaliz.*")
        sb3_check_env(made.unwrapped)


def test_renders_a_line_for_each_segment() -> None:
    made = gymnasium.make(NAME, task="simulated", render_mode="ansi")
    made.reset(seed=0)
    lines = [made.render()]
    for action in (ON, STOP):
        segment = made.step(action)[4]["segment"]
        lines.append(made.render())
        assert f"objective {segment.objective:.4g}" in str(lines[-1])
    assert lines[0] == "trial 0: base model, objective 4.6 nats/token"
    assert str(lines[1]).startswith("segment 0 (6%); learning_rate=0.0011, batch_size=4, ")
    assert "; stop; " in str(lines[2])
    assert str(lines[2]).endswith("; stopped: stopped by the agent")
    assert not any("\n" in str(line) for line in lines)
    assert make_env("simulated").render() is None
    with pytest.raises(WorldError, match="^render_mode: must be ansi or None, but got 'human'$"):
        make_env("simulated", render_mode="human")


def told(result: tuple[Any, ...]) -> tuple[Any, ...]:
    return (result[0].tolist(), *result[1:4], result[4]["segment"])


@pytest.mark.parametrize("copied", [lambda env: pickle.loads(pickle.dumps(env)), copy.deepcopy])
@pytest.mark.parametrize("made", [words, lambda: make_env("simulated", view="relative")])
def test_a_copy_goes_on_with_the_trial_by_itself(made: Any, copied: Any) -> None:
    env = made()
    env.reset(seed=4)
    actions = np.zeros(env.action_space.shape, dtype=int)
    moves = [actions + 1, actions]
    for move in moves[:1] * 2:
        move[-1] = Control.PROBE.value
        env.step(move)
    other = copied(env)
    moves[1][-1] = Control.ROLL_BACK.value
    for move in moves:
        one, another = told(env.step(move)), told(other.step(move))
        assert one == another
    before = env.trial
    other.reset(seed=5)
    assert env.trial == before
    assert copied(env).trial == before


def test_a_trial_that_ended_stays_ended_in_a_pickle() -> None:
    env = gymnasium.make(NAME, task="simulated")
    env.reset(seed=0)
    env.step(STOP)
    again = pickle.loads(pickle.dumps(env))
    assert isinstance(again.unwrapped, FineTuneEnv)
    assert again.unwrapped.trial.outcome is Outcome.STOPPED
    with pytest.raises(WorldError, match="has ended"):
        again.step(ON)
    # What a new trial draws its seed from went with it.
    assert again.reset()[0].tolist() == env.reset()[0].tolist()
    assert again.unwrapped.trial.seed == env.unwrapped.trial.seed  # type: ignore[attr-defined]


def test_the_example_of_stable_baselines_learns_and_plays() -> None:
    example = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "plain_sb3.py"))
    returned, lines = example["play"](example["learn"]("simulated", 256), "simulated", 100)
    assert -1.0 <= returned <= 2.0
    assert lines[-1].startswith(f"segment {len(lines) - 1} ")


def test_an_embedded_language_model_can_be_pickled() -> None:
    env = make_env("lm", trial_tokens=8192, device="cpu")
    env.reset(seed=0)
    assert pickle.loads(pickle.dumps(env)).facts == env.facts


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_play_what_each_plays_alone(mode: str) -> None:
    how: dict[str, Any] = {"context": "spawn"} if mode == "async" else {}
    vector = gymnasium.make_vec(
        NAME, 2, vectorization_mode=mode, vector_kwargs=how, task="simulated", trial_tokens=16384
    )
    together, _ = vector.reset(seed=[7, 8])
    alone = [make_env("simulated", trial_tokens=16384) for _ in range(2)]
    expected = np.stack([env.reset(seed=7 + n)[0] for n, env in enumerate(alone)])
    np.testing.assert_array_equal(together, expected)
    for _ in range(4):
        together, rewards, terminated, _, infos = vector.step(np.array([ON, ON]))
        steps = [env.step(ON) for env in alone]
        np.testing.assert_array_equal(together, np.stack([step[0] for step in steps]))
        assert rewards.tolist() == [step[1] for step in steps]
        assert terminated.tolist() == [step[2] for step in steps]
        assert list(infos["segment"]) == [step[4]["segment"] for step in steps]
    vector.close()
