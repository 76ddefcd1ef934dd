"""Agents of Stable-Baselines3, learning from scratch inside the study's own trials."""

from dataclasses import asdict, dataclass, replace

import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy

from hpopt_envs.randomness import key
from hpopt_envs.records import Control
from hpopt_search_spaces import SearchSpace

from ..pool.metered import MeteredPool
from .agent_settings import (
    CONTROL_LOGIT,
    FOREVER,
    STOP_LOGIT_BEFORE,
    A2CSettings,
    DQNSettings,
    PPOSettings,
)
from .base import SearchPlan
from .optuna_proposer import OptunaProposer
from .randomness import preserved_generators
from .registry import find_agent
from .vec_env import PoolVecEnv

_ALGORITHMS: dict[
    str, tuple[type[BaseAlgorithm], type[PPOSettings | A2CSettings | DQNSettings]]
] = {
    "ppo": (PPO, PPOSettings),
    "a2c": (A2C, A2CSettings),
    "dqn-from-scratch": (DQN, DQNSettings),
}


def build(plan: SearchPlan) -> "AgentSearcher":
    """See `AgentSpec.build`."""
    return AgentSearcher(plan)


@dataclass(frozen=True)
class AgentSearcher:
    """A `Searcher` that learns while it searches.

    Where the budget refuses a trial, learning ends, and the trials that still run are finished by
    the policy as it is. What they leave unspent may allow another trial, and learning goes on.
    """

    plan: SearchPlan

    def search(self, pool: MeteredPool) -> None:
        torch.set_num_threads(1)  # the same sums in the same order on every machine
        with preserved_generators():
            env = PoolVecEnv(pool, find_agent(self.plan.agent).view, static_starts(self.plan, pool))
            model = make_model(self.plan, env, pool.facts.segments)
            while pool.can_start():
                model.set_env(env)  # makes `learn` reset it
                model.learn(FOREVER, _EndOfBudget(env), reset_num_timesteps=False)
                cut_off(model)
                _finish(model, env)


def make_model(plan: SearchPlan, env: PoolVecEnv, segments: int) -> BaseAlgorithm:
    """Return an untrained agent with settings that fit the budget.

    Args:
        plan: `agent` names the algorithm.
        env: what it will act in.
        segments: of a trial.
    """
    algorithm, settings = _ALGORITHMS[plan.agent]
    model = algorithm(
        "MlpPolicy",
        env,
        seed=key(plan.seed, "agent") % 2**32,
        device="cpu",
        **asdict(settings.fit(plan.trials, segments, env.num_envs)),
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    if isinstance(model.policy, ActorCriticPolicy):
        # A policy that knows nothing would stop in every fourth segment, and see no trial's end, or
        # go back as often. The last logits are the controls'.
        head = model.policy.action_net
        assert isinstance(head, torch.nn.Linear)
        with torch.no_grad():
            if plan.observation < 3:
                head.bias[Control.STOP.value - len(Control)] = STOP_LOGIT_BEFORE
            else:
                head.bias[Control.CONTINUE.value - len(Control) + 1 :] = CONTROL_LOGIT
    return model


class _EndOfBudget(BaseCallback):
    """Ends `learn` at a step after which some slot has no trial; SB3 drops that step."""

    def __init__(self, env: PoolVecEnv) -> None:
        super().__init__()
        self._env = env

    def _on_step(self) -> bool:
        return not self._env.exhausted


def cut_off(model: BaseAlgorithm) -> None:
    """Mark the trials that learning left behind as cut off, apart from those that come next."""
    if isinstance(model, DQN):
        buffer = model.replay_buffer
        assert buffer is not None
        buffer.timeouts[buffer.pos - 1] = 1.0 - buffer.dones[buffer.pos - 1]


def _finish(model: BaseAlgorithm, env: PoolVecEnv) -> None:
    """Bring the running trials to their end, without learning and without new ones."""
    env.restarts = False
    while env.running:
        actions, _ = model.predict(env.observations)
        env.step(actions)
    env.restarts = True


def static_starts(plan: SearchPlan, pool: MeteredPool) -> OptunaProposer | None:
    """Return TPE over the hyperparameters that don't change during a trial; None without any."""
    static = tuple(
        # A parent that changes during a trial can't switch off what is set at its start.
        replace(
            p, active_when={k: v for k, v in p.active_when.items() if not pool.space[k].dynamic}
        )
        for p in pool.space.parameters
        if not p.dynamic
    )
    if not static:
        return None
    space = SearchSpace(pool.space.name, static)
    return OptunaProposer(space, replace(plan, agent="tpe"), pool.facts)
