"""The vector environment, beside single environments on the same tasks."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from hpopt_envs import WorldError, make_env
from hpopt_envs.episode.features import FEATURES
from hpopt_envs.nano.families import NanoTask, named_families
from hpopt_envs.nano.vector import NanoVectorEnv
from hpopt_search_spaces import load_space

COUNT = 3
# Where rates are low, what rounding changes stays small.
SLOW = {
    name: load_space(name).with_defaults({"learning_rate": 0.001, "batch_size": 8}).to_dict()
    for name in ("default", "plain")
}
for space in SLOW.values():
    space["parameters"][1]["high"] = 16  # a segment of the shortest trials


def tasks(family: str) -> list[NanoTask]:
    return [named_families()[family].task(seed) for seed in range(COUNT)]


def close(got: Any, expected: Any, what: str) -> None:
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-3, err_msg=what)


@pytest.mark.parametrize(
    ("family", "view", "settings"),
    [
        ("markov", "relative", {"space": SLOW["default"]}),
        ("markov", "discrete", {"space": SLOW["default"]}),
        ("classify", "absolute", {"space": SLOW["default"], "max_divergence": 0.05}),
        ("low-rank", "absolute", {"space": SLOW["plain"]}),
        ("attention", "relative", {"space": SLOW["default"], "validate_segments": False}),
    ],
)
def test_it_is_the_single_environment_many_times(
    family: str, view: str, settings: dict[str, Any]
) -> None:
    own = dict(settings)
    validates = own.pop("validate_segments", True)
    many = NanoVectorEnv(tasks(family), view=view, validate_segments=validates, settings=own)
    single = [make_env(task.name, view=view, **settings) for task in tasks(family)]
    random = np.random.default_rng(0)
    observations, _ = many.reset(seed=10)
    for k, env in enumerate(single):
        close(observations[k], env.reset(seed=10 + k)[0], "first observation")
    trials = 0
    for _ in range(20):  # beyond the end of a trial
        actions = [env.action_space.sample() for env in single]
        if view == "absolute":
            for action in actions:
                action[0] = random.uniform(-0.2, 0.3)
        observations, rewards, ended, _, infos = many.step(np.array(actions))
        for k, env in enumerate(single):
            seen, reward, over, _, info = env.step(actions[k])
            assert over == ended[k]
            close(rewards[k], reward, "reward")
            assert infos["cost"][k] == pytest.approx(info["segment"].cost)
            if over:
                trials += 1
                close(infos["final_obs"][k], seen, "last observation")
                value = info["trial"].value
                got = infos["final_info"]["value"][k]
                close(got, np.nan if value is None else value, "value")
                seen, _ = env.reset()
            for feature, a, b in zip(FEATURES, observations[k], seen, strict=True):
                close(a, b, feature.name)
    assert trials >= COUNT


def test_gymnasium_makes_it_and_threads_are_left_alone() -> None:
    torch.set_num_threads(threads := 2)
    env = gymnasium.make_vec("hpopt_envs:hpopt/Nano-v0", num_envs=4, task="nano:templates")
    observations, _ = env.reset(seed=0)
    assert observations in env.observation_space
    assert env.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP
    observations, *_ = env.step(np.zeros_like(env.action_space.sample()))
    assert observations in env.observation_space
    assert observations.shape == (4, len(FEATURES))
    assert torch.get_num_threads() == threads
    torch.set_num_threads(1)


def test_the_same_seed_is_the_same_again() -> None:
    env = NanoVectorEnv(tasks("templates"), view="discrete")
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(20)]

    def returns(seed: int | None) -> list[list[float]]:
        env.reset(seed=seed)
        return [env.step(action)[1].tolist() for action in actions]

    assert returns(1) == returns(1)
    assert returns(1) != returns(None)


def explosive(rate: float) -> dict[str, Any]:
    """Settings with which the high end of the rates explodes."""
    space = load_space("plain").with_defaults({"learning_rate": rate, "batch_size": 8}).to_dict()
    space["parameters"][1]["high"] = 16
    fixed = {"optimizer": "adam", "max_gradient_norm": 1e9, "divergence_weight": 0.0}
    return {"fixed": fixed, "space": space}


def test_what_explodes_starts_again_and_the_others_go_on() -> None:
    settings = explosive(1e3)
    env = NanoVectorEnv(tasks("templates"), view="absolute", settings=settings)
    env.reset(seed=0)
    total, ends = np.zeros(COUNT), 0
    low, high = [-1.0, 0.0, -1.0], [1.0, 0.0, -1.0]
    for _ in range(16):
        _, rewards, ended, _, infos = env.step(np.array([low, low, high]))
        total += rewards
        if ended[2]:
            ends += 1
            assert np.isnan(infos["final_info"]["value"][2])
            assert total[2] == pytest.approx(-1.0)
            total[2] = 0.0
    assert ends > 1
    assert ended.tolist()[:2] == [True, True]


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(WorldError, match="^view: must be one of"):
        NanoVectorEnv(tasks("markov"), view="relativ")
    families = named_families()
    with pytest.raises(WorldError, match="trials of one length"):
        NanoVectorEnv([families["markov"].task(0), families["tiny"].task(0)])
    with pytest.raises(WorldError, match="^nano tasks: must be one at least"):
        NanoVectorEnv([])
    with pytest.raises(WorldError, match="^settings: view must be said as an argument"):
        NanoVectorEnv(tasks("markov"), settings={"view": "absolute"})
    with pytest.raises(WorldError, match="^seed: must be 3 numbers, but got 2"):
        NanoVectorEnv(tasks("markov")).reset(seed=[1, 2])
    with pytest.raises(WorldError, match="^options: must be left out"):
        NanoVectorEnv(tasks("markov")).reset(options={"trial": 3})
    with pytest.raises(WorldError, match="model: must be left out"):
        NanoVectorEnv(tasks("markov"), settings={"model": "gpt2"})


def test_a_probed_explosion_can_be_gone_back_on() -> None:
    settings = explosive(0.3)
    env = NanoVectorEnv(tasks("templates"), view="absolute", settings=settings)
    single = make_env(tasks("templates")[2].name, view="absolute", **settings)
    env.reset(seed=0)
    single.reset(seed=2)
    on, back, probe = -1.0, 0.85, 1.0
    for number, (rate, control) in enumerate([(-1, probe), (1, probe), (1, probe), (-1, back)]):
        actions = np.array([[-1.0, 0.0, on], [-1.0, 0.0, on], [rate, 0.0, control]])
        seen, rewards, ended, _, infos = env.step(actions)
        expected, reward, _, _, info = single.step(actions[2])
        assert not ended.any()
        assert infos["cost"][2] == pytest.approx(info["segment"].cost)
        if number in (1, 2):
            assert info["segment"].probe_loss == np.inf
        else:
            close(seen[2], expected, "observation")
            close(rewards[2], reward, "reward")


def test_actions_of_another_shape_are_refused() -> None:
    env = NanoVectorEnv(tasks("templates"), view="relative")
    env.reset(seed=0)
    actions = np.zeros_like(env.action_space.sample())
    with pytest.raises(WorldError, match="^action: must be 4 whole numbers"):
        env.step(actions[:, :-1])
    with pytest.raises(WorldError, match="^action: must be 4 whole numbers"):
        env.step(actions + 7)
    assert not env.step(actions)[2].any()  # none of them moved or ended a trial
