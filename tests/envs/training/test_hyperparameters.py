"""Hyperparameters that training can't use are refused before anything is spent, in one line."""

from collections.abc import Mapping
from typing import Any

import pytest

from hpopt_envs import Control, make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.tasks import ParametricLoss, load_task
from hpopt_envs.training.hyperparameters import check_hyperparameters
from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    Value,
    available_spaces,
    load_space,
)
from tests.envs.tiny import HERE, Tempered

Fields = Mapping[str, Any]

NEEDED = [
    FloatParameter("learning_rate", 1e-4, 1e-1, 1e-3, log=True),
    IntegerParameter("batch_size", 4, 16, 8, powers_of_two=True),
]


def choice(name: str, *choices: Value, **more: Any) -> ChoiceParameter:
    return ChoiceParameter(name, choices, choices[0], **more)


def space(*parameters: Any) -> SearchSpace:
    replaced = {parameter.name for parameter in parameters}
    return SearchSpace("mine", (*(p for p in NEEDED if p.name not in replaced), *parameters))


@pytest.mark.parametrize("name", [name for name, _ in available_spaces()])
def test_shipped_spaces_are_fine_where_there_is_a_reference(name: str) -> None:
    # The task of gdc has no weight.
    task = load_task("align", {"constraint": ["pep257=0.5"]}) if name == "gdc" else None
    check_hyperparameters(load_space(name), {}, task if isinstance(task, ParametricLoss) else None)


@pytest.mark.parametrize(
    "fixed",
    [
        {"optimizer": "nesterov", "weight_decay": 0, "max_gradient_norm": 0.5},
        {"optimizer": "torch.optim:NAdam"},
        {"lora_rank": 8, "lora_alpha": 4, "lora_targets": ".*q_proj"},
        {"divergence_weight": 0.0, "divergence": "alpha", "divergence_alpha": -1.5},
        {"schedule_shape": "cosine", "warmup_fraction": 0.1, "dropout": 0.1, "frozen_layers": 0},
    ],
)
def test_what_training_understands_may_be_held(fixed: Fields) -> None:
    check_hyperparameters(space(), fixed)


def test_a_batch_of_everything_may_be_held() -> None:
    rate = SearchSpace("mine", (NEEDED[0],))
    check_hyperparameters(rate, {"batch_size": "all"})
    with pytest.raises(WorldError, match="every batch_size must be a whole number .*got 'all'"):
        check_hyperparameters(space(choice("batch_size", "all", "some")), {})


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"learning_rat": 1}, "fix: training has no hyperparameter 'learning_rat' .*learning_rate"),
        ({"label_smoothing": 0.1}, "fix: training has no hyperparameter 'label_smoothing'"),
        ({"temperature": 1.0}, "fix: training has no hyperparameter 'temperature'"),
        ({"optimizer": "adamm"}, "every optimizer must be among sgd, .*, or module:Class, .*adamm"),
        ({"optimizer": 3}, "every optimizer must be .*got 3"),
        ({"lora_rank": 0}, "every lora_rank must be a whole number of at least 1, but got 0"),
        ({"lora_rank": 2.0}, "every lora_rank must be a whole number .*got 2.0"),
        ({"lora_rank": True}, "every lora_rank must be a whole number .*got True"),
        ({"lora_alpha": 8}, "lora_alpha must go with lora_rank"),
        ({"lora_targets": "q"}, "lora_targets must go with lora_rank"),
        ({"lora_rank": 2, "lora_targets": 3}, "every lora_targets must be a regular expression"),
        ({"lora_rank": 2, "lora_alpha": 0}, "every lora_alpha must be a number above 0"),
        ({"divergence": "reverse_kl"}, "divergence must go with divergence_weight"),
        ({"divergence_alpha": 0.5}, "divergence_alpha must go with divergence_weight"),
        ({"divergence_weight": 1, "divergence": "kl"}, "every divergence must be among forward_kl"),
        ({"divergence_weight": -1}, "every divergence_weight must be .*at least 0, but got -1"),
        (
            {"divergence_weight": 1, "divergence_alpha": float("nan")},
            "every divergence_alpha must be a number, but got nan",
        ),
        ({"weight_decay": float("inf")}, "every weight_decay must be a number.*inf"),
        ({"max_gradient_norm": 0}, "every max_gradient_norm must be a number above 0"),
        ({"max_gradient_norm": "1"}, "every max_gradient_norm must be .*but got '1'"),
        ({"warmup_fraction": 1.0}, "every warmup_fraction must be .*to below 1, but got 1.0"),
        ({"dropout": True}, "every dropout must be .*but got True"),
        ({"schedule_shape": "step"}, "every schedule_shape must be among constant, linear, cosine"),
        ({"frozen_layers": -1}, "every frozen_layers must be a whole number of at least 0"),
    ],
)
def test_what_is_held_and_makes_no_sense_is_refused_in_one_line(
    fixed: Fields, message: str
) -> None:
    with pytest.raises(WorldError, match=message) as raised:
        check_hyperparameters(space(), fixed)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([FloatParameter("learning_rate", 0.0, 1.0, 0.5)], "learning_rate must be .*above 0"),
        ([FloatParameter("batch_size", 4.0, 8.0, 4.0)], "batch_size must be a whole number"),
        ([IntegerParameter("batch_size", 0, 8, 4)], "batch_size must be .*at least 1, but got 0"),
        ([choice("optimizer", "adamw", "adamm")], "every optimizer must be .*'adamm'"),
        (
            [choice("optimizer", "adamw", "sgd", dynamic=True)],
            "optimizer must not be dynamic: it is set at a trial's start",
        ),
        (
            [IntegerParameter("lora_rank", 2, 8, 4, dynamic=True)],
            "lora_rank must not be dynamic",
        ),
        ([IntegerParameter("lora_rank", 0, 8, 4)], "every lora_rank must be .*but got 0"),
        (
            [
                choice("optimizer", "adamw", "sgd"),
                IntegerParameter("lora_rank", 2, 8, 4, active_when={"optimizer": ("adamw",)}),
            ],
            "lora_rank must not have active_when",
        ),
        ([choice("divergence", "forward_kl", "reverse_kl")], "divergence must go with"),
        ([FloatParameter("dropout", 0.0, 1.0, 0.1)], "every dropout must be .*below 1, but got 1"),
        ([FloatParameter("momentum", 0.0, 0.9, 0.5)], "training has no hyperparameter 'momentum'"),
    ],
)
def test_spaces_with_what_training_cannot_use_are_refused_in_one_line(
    parameters: list[Any], message: str
) -> None:
    with pytest.raises(WorldError, match=message) as raised:
        check_hyperparameters(space(*parameters), {})
    assert str(raised.value).startswith("space 'mine'")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["learning_rate", "batch_size"])
def test_learning_rate_and_batch_size_must_come_from_somewhere(name: str) -> None:
    rest = SearchSpace("mine", tuple(p for p in NEEDED if p.name != name))
    with pytest.raises(WorldError, match=f"space 'mine': must have {name}"):
        check_hyperparameters(rest, {})
    check_hyperparameters(rest, {name: 4})


def test_a_divergence_weight_needs_a_reference() -> None:
    with pytest.raises(WorldError, match="divergence_weight needs a task with a reference"):
        check_hyperparameters(space(), {"divergence_weight": 0.1}, reference=False)


def test_what_a_tasks_own_loss_takes_may_be_held_and_searched() -> None:
    task = Tempered()
    searched = space(choice("temperature", 1.0, 2.0))
    check_hyperparameters(searched, {"label_smoothing": 0.1}, task)
    with pytest.raises(WorldError, match="every label_smoothing must be .*below 1, but got 1"):
        check_hyperparameters(space(), {"label_smoothing": 1}, task)


def test_what_is_held_reaches_every_segment_and_wins_over_what_the_searcher_holds() -> None:
    fixed: dict[str, Value] = {"schedule_shape": "cosine", "frozen_layers": 1, "dropout": 0.1}
    env = make_env(f"{HERE}:Words", fixed=fixed, trial_tokens=1024, device="cpu")
    env.reset(seed=0, options={"fixed": HELD_SHAPE})
    env.action_space.seed(0)
    action = env.action_space.sample()
    action[-1] = Control.CONTINUE.value
    for _ in range(2):
        *_, info = env.step(action)
        asked = info["segment"].hyperparameters
        assert {name: asked[name] for name in fixed} == fixed
        assert asked["warmup_fraction"] == HELD_SHAPE["warmup_fraction"]
        assert set(asked) == {*env.space.names, *fixed, *HELD_SHAPE}
    state: Any = env.position.state  # type: ignore[attr-defined]
    assert not any(".layers.0." in name for name in state.tensors)
