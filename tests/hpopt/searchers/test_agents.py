"""Agents learn, keep their randomness to themselves, and see the pool as SB3 sees environments."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from hpopt.pool.budget import Budget, Limits
from hpopt.pool.metered import MeteredPool
from hpopt.record.journal import read_events
from hpopt.searchers import SearchPlan
from hpopt.searchers.agent_settings import FOREVER, A2CSettings, DQNSettings, PPOSettings
from hpopt.searchers.agents import cut_off, make_model
from hpopt.searchers.registry import AGENTS
from hpopt.searchers.vec_env import PoolVecEnv
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Outcome, RunFacts, Trial
from hpopt_envs.training_run import Evaluation, Progress
from tests.hpopt.searching import make_searcher

MakePool = Callable[..., MeteredPool]

SEGMENTS = 8
RATE = {"type": "float", "log": True, "low": 1e-3 / 4, "high": 1e-3 * 2**8, "default": 1e-3}
BATCH = {"type": "integer", "powers_of_two": True, "low": 4, "high": 64, "default": 16}
SPACE = {
    "name": "upward",
    "parameters": [
        {"name": "learning_rate", "dynamic": True, **RATE},
        {"name": "batch_size", "dynamic": True, **BATCH},
    ],
}
every_agent = pytest.mark.parametrize("agent", [n for n, s in AGENTS.items() if not s.holds])


class UpwardRun:
    """Each segment gains as many octaves/80 as the learning rate is above 1e-3: always go up."""

    def __init__(self, facts: RunFacts) -> None:
        self.facts = facts

    def start(self, seed: int) -> dict[str, Any]:
        return {"seed": seed, "loss": self.facts.base_loss}

    def advance(
        self, state: dict[str, Any], hyperparameters: Any, segment: int, *more: Any
    ) -> Progress:
        state["loss"] -= math.log2(hyperparameters["learning_rate"] / 1e-3) / 80
        tokens = self.facts.segment_tokens
        return Progress(tokens, 1, state["loss"], None, 1.0, 0.0, 0.0, None, cost=float(tokens))

    def probe(self, state: dict[str, Any]) -> tuple[float, float]:
        return state["loss"], 0.0

    def evaluate(self, state: dict[str, Any], split: str, whole: bool) -> Evaluation:
        return Evaluation({"loss": state["loss"]}, state["loss"], 0.0)

    def snapshot(self, state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {}, dict(state)

    def restore(self, tensors: Any, meta: Any) -> dict[str, Any]:
        return dict(meta)


def upward_env(**settings: Any) -> FineTuneEnv:
    """An environment whose best action is always the same."""
    env = make_env("simulated", space=SPACE, trial_tokens=SEGMENTS * 4096)
    return FineTuneEnv(UpwardRun(env.facts), env.space, **settings)  # type: ignore[arg-type]


UPWARD = f"{__name__}:upward_env"


def run(
    make_pool: MakePool, agent: str, trials: int, seed: int = 0, **settings: Any
) -> list[Trial]:
    pool = make_pool(agent, trials=trials, seed=seed, **settings)
    make_searcher(agent, trials=trials, seed=seed).search(pool)
    return pool.trials


def random_value(view: str) -> float:
    """Mean value of trials whose actions are drawn at random."""
    env, values = upward_env(view=view), []
    env.action_space.seed(0)
    for seed in range(200):
        env.reset(seed=seed)
        ended = False
        while not ended:
            _, _, ended, _, info = env.step(env.action_space.sample())
        values.append(info["trial"].value)
    return mean(values)


@pytest.mark.parametrize(("agent", "trials"), [("ppo", 60), ("a2c", 120), ("dqn-from-scratch", 40)])
def test_agents_learn_a_trivial_environment(agent: str, trials: int, make_pool: MakePool) -> None:
    by_chance = random_value(AGENTS[agent].view)
    ended = run(make_pool, agent, trials, workers=2, factory=UPWARD)
    values = [trial.value for trial in ended if trial.value is not None]
    quarter = len(values) // 4
    assert mean(values[-quarter:]) < by_chance - 0.1
    assert mean(values[-quarter:]) < mean(values[:quarter]) - 0.1


@every_agent
def test_a_policy_that_knows_nothing_sees_how_trials_end(agent: str, make_pool: MakePool) -> None:
    trials = [t for seed in range(4) for t in run(make_pool, agent, 2, seed, factory=UPWARD)]
    ended = [trial.outcome is Outcome.COMPLETED for trial in trials]
    assert sum(ended) >= len(ended) / 2


BUDGETS = [
    (trials, segments, workers)
    for trials in (1, 2, 6, 12, 100)
    for segments in (1, 2, 7, 16, 67)
    for workers in (1, 2, 5)
]


@pytest.mark.parametrize(("trials", "segments", "workers"), BUDGETS)
def test_settings_fit_the_budget(trials: int, segments: int, workers: int) -> None:
    steps = trials * segments
    dqn = DQNSettings.fit(trials, segments, workers)
    assert dqn.learning_starts < steps / 2 + 1
    assert dqn.exploration_fraction * FOREVER <= steps / 2
    assert dqn.buffer_size >= steps
    assert dqn.target_update_interval // workers * dqn.gradient_steps >= 200
    ppo = PPOSettings.fit(trials, segments, workers)
    rollout = ppo.n_steps * workers
    assert rollout >= 2
    assert ppo.n_steps == max(segments, 2 if workers == 1 else 1)
    assert rollout % ppo.batch_size == 0
    assert 2 <= ppo.batch_size <= rollout
    assert 1 <= A2CSettings.fit(trials, segments, workers).n_steps <= segments


@every_agent
def test_static_hyperparameters_are_searched_too(agent: str, make_pool: MakePool) -> None:
    pool = make_pool(agent, trials=12, space="full")
    make_searcher(agent, trials=12, seed=0).search(pool)
    static = [p.name for p in pool.space.parameters if not p.dynamic]
    starts = []
    for trial in pool.trials:
        seen = [{n: s.hyperparameters.get(n) for n in static} for s in trial.segments]
        assert all(values == seen[0] for values in seen)
        starts.append(seen[0])
    assert starts[0] == {name: pool.space.defaults().get(name) for name in static}
    assert len({start["dropout"] for start in starts}) > len(starts) / 2
    assert {start["optimizer"] for start in starts} == {"adamw", "momentum", "adagrad"}
    assert all((s["weight_decay"] is None) == (s["optimizer"] != "adamw") for s in starts)
    rates = {s.hyperparameters["learning_rate"] for t in pool.trials for s in t.segments}
    assert len(rates) > 1


def noisy_env(**settings: Any) -> FineTuneEnv:
    """An environment that draws from every global generator."""
    env = upward_env(**settings)
    advance = env.run.advance

    def draw(*arguments: Any) -> Progress:
        torch.rand(3), np.random.rand(5), random.random()
        torch.manual_seed(7)
        return advance(*arguments)

    env.run.advance = draw  # type: ignore[method-assign]
    return env


@every_agent
def test_agents_and_training_in_one_process_do_not_disturb_each_other(
    agent: str, make_pool: MakePool
) -> None:
    torch.manual_seed(1)
    quiet = run(make_pool, agent, 8, workers=2, factory=UPWARD)
    torch.manual_seed(2)
    noisy = run(make_pool, agent, 8, workers=2, factory=f"{__name__}:noisy_env")
    assert quiet == noisy


@every_agent
def test_callers_keep_their_generators(agent: str, make_pool: MakePool) -> None:
    def draws() -> list[float]:
        return [float(torch.rand(1)), float(np.random.rand()), random.random()]

    def seed() -> None:
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)

    seed()
    expected = draws()
    seed()
    run(make_pool, agent, 2, factory=UPWARD)
    assert draws() == expected


def test_the_pool_is_a_vector_environment_as_sb3_has_them(make_pool: MakePool) -> None:
    pool = make_pool("ppo", trials=6, workers=2, factory=UPWARD)
    env = PoolVecEnv(pool, "relative", None)
    first = env.reset()
    assert first.shape == (2, *env.observation_space.shape)
    keep, stop = [2, 1, 0], [2, 1, 1]
    seen, rewards, dones, infos = env.step(np.array([keep, stop]))
    assert dones.tolist() == [False, True]
    assert "terminal_observation" not in infos[0]
    last = infos[1]["terminal_observation"]
    assert infos[1]["TimeLimit.truncated"] is False
    assert last[0] == pytest.approx(1 / SEGMENTS)  # the trial's progress
    assert seen[:, 0] == pytest.approx([1 / SEGMENTS, 0.0])
    assert [trial.outcome for trial in pool.trials] == [None, Outcome.STOPPED, None]
    assert rewards[1] == pytest.approx(pool.facts.base_objective - pool.trials[1].value)
    for array in (first, seen, last):
        assert env.observation_space.contains(array[0] if array.ndim == 2 else array)


def test_slots_without_a_trial_are_exhausted(make_pool: MakePool) -> None:
    pool = make_pool("ppo", trials=1, workers=2, factory=UPWARD)
    env = PoolVecEnv(pool, "relative", None)
    env.reset()
    assert (env.running, env.exhausted) == ([0], {1})
    for step in range(SEGMENTS):
        _, _, dones, _ = env.step(np.full((2, 3), [4, 1, 0]))
        assert dones.tolist() == [step + 1 == SEGMENTS, False]
    assert (env.running, env.exhausted) == ([], {0, 1})
    assert len(pool.trials) == 1


class UntilExhausted(BaseCallback):
    def _on_step(self) -> bool:
        env = self.training_env
        assert isinstance(env, PoolVecEnv)
        return not env.exhausted


def rewards_of(journal: Path) -> dict[int, list[float]]:
    """Rewards of each trial's segments, as the journal has them."""
    rewards: dict[int, list[float]] = {}
    for event in read_events(journal):
        if event["event"] == "reply" and event["reply"]["segment"] is not None:
            rewards.setdefault(event["trial"], []).append(event["reply"]["reward"])
    return rewards


def test_only_what_happened_is_learned_from(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool("dqn-from-scratch", trials=5, workers=2, folder="ours")
    env = PoolVecEnv(pool, "discrete", None)
    model = make_model(
        SearchPlan("dqn-from-scratch", "none", 20, 0, "default"), env, pool.facts.segments
    )
    assert isinstance(model, DQN)
    model.learn(FOREVER, UntilExhausted())
    assert model._n_updates > 0  # it learned before the budget ended
    assert model.replay_buffer is not None
    assert model.replay_buffer.timeouts.sum() == 0
    cut_off(model)
    assert env.running  # a trial that learning leaves behind

    # The study is extended, and learning goes on with other trials.
    env.restarts = False
    while env.running:
        env.step(np.zeros((2, 1)))
    env.restarts = True
    pool.budget = Budget(Limits(trials=12), pool.facts, True)
    model.set_env(env)
    model.learn(FOREVER, UntilExhausted(), reset_num_timesteps=False)
    trials = rewards_of(tmp_path / "ours" / "journal.jsonl").values()
    sums = np.array([sum(t[i:j]) for t in trials for j in range(len(t) + 1) for i in range(j)])
    for reward in model.replay_buffer.sample(2000).rewards.numpy().ravel():
        assert np.abs(sums - reward).min() < 1e-6  # of one trial's consecutive segments
