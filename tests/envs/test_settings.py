"""What an environment is made of: one definition for Python, journals and the command line."""

import dataclasses
import subprocess
import sys
from typing import Any

import gymnasium
import pytest

from hpopt_envs import EnvironmentSettings, FineTuneEnv, WorldError, make_env
from hpopt_envs.settings import Script, Source
from hpopt_envs.tasks.suite import BUILT_IN

FIELDS = {f.name: f for f in dataclasses.fields(EnvironmentSettings)}
DATA = {f.name: f for f in dataclasses.fields(Source)}
SCRIPT = {f.name: f for f in dataclasses.fields(Script)}


def test_a_journal_may_have_data_as_a_mapping_or_none() -> None:
    settings = EnvironmentSettings.of({"data": {"train_file": "a.txt", "text_column": None}})
    assert settings.data == Source(train_file="a.txt")
    assert settings.data.given == {"train_file": "a.txt"}
    for nothing in ({}, None, Source()):
        assert EnvironmentSettings.of({"data": nothing}) == EnvironmentSettings()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trial_token": 1}, r"^trial_token: there is no such setting \(nearest: trial_tokens"),
        ({"data": {"train": "a"}}, r"^train: there is no such setting \(nearest: train_file"),
        (
            {"data": {"too_long": "cut"}},
            "^too_long: must be one of refuse, truncate, but got 'cut'",
        ),
        (
            {"max_divergence": -1},
            "^max_divergence: must be a number above 0 or 'none'",
        ),
        (
            {"max_divergence": "lots"},
            "^max_divergence: must be a number above 0 or 'none'",
        ),
        ({"segment_tokens": 4096.5}, "^segment_tokens: must be a whole number of at least 1, but"),
        ({"trial_tokens": "many"}, "^trial_tokens: must be a whole number of at least 1, but"),
        ({"space": 5}, "^space: must be a text, but got 5$"),
        ({"baseline": 0.1}, "^baseline: must be a table of values, but got 0.1$"),
        ({"fixed": ["sgd"]}, r"^fix: must be a table of values, but got \['sgd'\]$"),
        ({"validate_segments": "no"}, "^validate_segments: must be true or false, but got 'no'$"),
        ({"threads": 0}, "^threads: must be a whole number of at least 1, but got 0$"),
        ({"device": None}, "^device: must be one of auto, cpu, cuda, but got None$"),
        ({"view": 3}, "^view: must be a text, but got 3$"),
        ({"view": "sideways"}, "^view: must be one of absolute, relative, discrete, but got"),
    ],
)
def test_what_is_no_setting_or_value_is_refused_in_one_line(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorldError, match=message):
        make_env("simulated", **settings)


def test_gymnasium_makes_the_environment_by_its_settings() -> None:
    made = gymnasium.make("hpopt_envs:hpopt/FineTune-v0", task="simulated", view="discrete")
    assert isinstance(made.unwrapped, FineTuneEnv)
    assert made.unwrapped.view == "discrete"
    assert made.unwrapped.facts.task == "simulated"


def test_actions_move_what_may_move_and_else_say_all() -> None:
    held = {"type": "float", "low": 1e-4, "high": 1e-2, "default": 1e-3, "log": True}
    size = {"type": "choice", "choices": [4, 8], "default": 4}
    parameters = [{"name": "learning_rate", **held}, {"name": "batch_size", **size}]
    assert make_env("simulated").view == "relative"
    space = {"name": "held", "parameters": parameters}
    assert make_env("simulated", space=space).view == "absolute"


def test_every_setting_of_a_users_explains_itself() -> None:
    own = {name for name, f in FIELDS.items() if not f.metadata}
    ours = {"view", "validate_segments", "threads", "folder", "silence_limit"}
    assert own == {"data", "script", *ours}
    for name, field in [*FIELDS.items(), *DATA.items(), *SCRIPT.items()]:
        if name not in own:
            assert field.metadata["group"]
            assert "(default: " in field.metadata["help"], name
            assert len(field.metadata["help"]) <= 115, name


def test_a_help_text_names_the_tasks_that_take_a_setting() -> None:
    kinds = {task.kind.name: set(task.kind.settings) for task in BUILT_IN.values()}
    for name, field in DATA.items():
        takers = {kind for kind, taken in kinds.items() if name in taken}
        named = field.metadata["help"].partition(": ")[0].split(", ")
        assert takers == (set(named) if set(named) <= set(kinds) else set(kinds)), name


def test_settings_are_light() -> None:
    code = (
        "import sys, hpopt_envs.settings;"
        "print({'torch', 'optuna', 'mlflow', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
