"""A nano task in the place of a real one."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hpopt.testing import check_training_run
from hpopt_envs import FineTuneEnv, Outcome, WorldError, make_env
from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.messages import StudyFacts
from hpopt_envs.nano.families import named_families, read_task


@pytest.mark.parametrize("family", [*named_families(), "0", "1", "2", "3"])
def test_it_keeps_the_promises_of_a_training_run(family: str) -> None:
    check_training_run(make_env(f"nano:{family}").run)


def episode(env: FineTuneEnv, rate: float = 0.5, seed: int = 0) -> list[float]:
    env.reset(seed=seed)
    unit = [rate, *env.space.default_unit[1:]]
    rewards, ended = [], False
    while not ended:
        _, reward, ended, _, _ = env.step(absolute_action(tuple(unit)))
        rewards.append(float(reward))
    return rewards


def test_the_default_learns() -> None:
    env = make_env("nano:templates:2", view="absolute")
    assert len(episode(env, env.space.default_unit[0])) == env.facts.segments == 16
    assert env.trial.outcome is Outcome.COMPLETED
    assert env.trial.value is not None
    assert env.trial.value < env.facts.base_objective - 0.2


def test_an_explosion_ends_a_trial() -> None:
    env = make_env("nano:templates:2", fixed={"optimizer": "adam", "max_gradient_norm": 1e9})
    env.reset(seed=0)
    values = {**env.space.defaults(), **env.facts.fixed, "learning_rate": 1e4}
    _, reward, ended, _, _ = env.train(values)
    assert ended
    assert env.trial.outcome is Outcome.EXPLODED
    assert reward == -1.0


def test_defaults_are_those_of_the_rules() -> None:
    weights = set()
    for seed in range(8):
        env = make_env(f"nano:low-rank:{seed}")
        ruled = 0.3 + 1.5 * env.facts.forgetting_weight
        weights.add(env.space.defaults()["divergence_weight"] / ruled)
        assert env.facts.lora
        assert env.facts.trainable_parameters < env.facts.total_parameters
        assert env.facts.fixed == {"optimizer": read_task(f"nano:low-rank:{seed}").optimizer}
    assert any(share == pytest.approx(1.0) for share in weights)


@pytest.mark.parametrize(
    ("baseline", "line"),
    [
        ({"batch_size": 1}, "batch_size: must be even for a nano task"),
        ({"optimizer": "torch.optim:RAdam"}, "optimizer: must be "),
        ({"dropout": 0.3}, "baseline: a nano task has no dropout"),
    ],
)
def test_a_baseline_that_cannot_be_trained_is_refused(baseline: dict[str, Any], line: str) -> None:
    with pytest.raises(WorldError, match=f"^{line}"):
        make_env("nano:markov:1", baseline=baseline)


def test_a_trial_has_no_hyperparameter_that_training_does_not_know() -> None:
    with pytest.raises(WorldError, match="training has no hyperparameter 'lerning_rate'"):
        make_env("nano:markov").reset(options={"fixed": {"lerning_rate": 1}})


def test_what_is_asked_for_is_had() -> None:
    env = make_env(
        "nano:markov",
        forgetting_weight=0.25,
        max_divergence=0.1,
        segment_tokens=256,
        trial_tokens=512,
        fixed={"optimizer": "rmsprop", "weight_decay": 0.1},
    )
    facts = env.facts
    assert (facts.forgetting_weight, facts.max_divergence, facts.segments) == (0.25, 0.1, 2)
    assert facts.fixed == {"optimizer": "rmsprop", "weight_decay": 0.1}
    plain = make_env("nano:markov", space="plain")
    assert "divergence_weight" not in plain.space


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "gpt2"}, "model: must be left out for a nano task"),
        ({"sequence_length": 8}, "sequence_length: must be left out for a nano task"),
        ({"fixed": {"dropout": 0.1}}, "a nano task has no dropout"),
        ({"space": "lora"}, "a nano task has no lora_rank"),
        ({"fixed": {"optimizer": "own:Optimizer"}}, "optimizer: must be sgd, .* but got 'own:Op"),
        (
            {"fixed": {"batch_size": "all"}},
            "batch_size: must be even for a nano task, but got 'all",
        ),
        ({"fixed": {"batch_size": 3}}, "batch_size: must be even for a nano task, but got 3"),
        ({"segment_tokens": 100}, "segment_tokens: must be a multiple of 64"),
        ({"trial_tokens": 100}, "trial_tokens: must be a multiple of segment_tokens=64"),
    ],
)
def test_what_it_lacks_is_refused_in_one_line(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(WorldError, match=says) as caught:
        make_env("nano:markov", **settings)
    assert "\n" not in str(caught.value)


def test_trained_weights_are_written(tmp_path: Path) -> None:
    env = make_env("nano:attention", view="absolute")
    episode(env)
    env.save_weights(tmp_path / "best")
    blocks = load_file(tmp_path / "best" / "model.safetensors")
    assert sum(block.numel() for block in blocks.values()) == env.facts.total_parameters


def test_a_saved_trial_goes_on_as_it_would_have(tmp_path: Path) -> None:
    env = make_env("nano:low-rank", view="absolute")
    whole = episode(env, seed=3)
    env.reset(seed=3)
    action = absolute_action((0.5, *env.space.default_unit[1:]))
    for _ in range(7):
        env.step(action)
    env.save(tmp_path / "trial.safetensors")
    other = make_env("nano:low-rank", view="absolute")
    other.load(tmp_path / "trial.safetensors", StudyFacts())
    rest = [float(other.step(action)[1]) for _ in range(len(whole) - 7)]
    assert rest == whole[7:]
