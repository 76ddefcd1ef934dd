"""PPO of Stable-Baselines3 on the environment alone, without hpopt's studies and budgets.

    python plain_sb3.py simulated 20000

It prints what trials of the trained policy return, and its best schedule, segment by segment.
"""

import sys

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

NAME = "hpopt_envs:hpopt/FineTune-v0"


def learn(task: str, steps: int) -> PPO:
    """Return PPO after so many segments in four trials at a time."""
    envs = make_vec_env(NAME, n_envs=4, seed=0, env_kwargs={"task": task})
    # Rewards telescope to a trial's improvement, so that nothing is to be discounted.
    model = PPO("MlpPolicy", envs, n_steps=64, gamma=1.0, seed=0, device="cpu")
    return model.learn(steps)


def play(model: PPO, task: str, seed: int) -> tuple[float, list[str]]:
    """Return what a trial of the policy returns, and its lines."""
    env = gymnasium.make(NAME, task=task, render_mode="ansi")
    observation, _ = env.reset(seed=seed)
    returned, ended, lines = 0.0, False, []
    while not ended:
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, ended, _, _ = env.step(action)
        returned += float(reward)
        lines.append(str(env.render()))
    return returned, lines


if __name__ == "__main__":
    task, steps = sys.argv[1], int(sys.argv[2])
    model = learn(task, steps)
    trials = [play(model, task, seed) for seed in range(100, 110)]
    returns = [returned for returned, _ in trials]
    print(*max(trials)[1], sep="\n")
    print(f"mean return {sum(returns) / len(returns):.2f} of {len(returns)} trials")
