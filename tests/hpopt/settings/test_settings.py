"""Settings: flat names for users, groups inside, records that are read back."""

import json
from typing import Any

import pytest

from hpopt import HpoptError, StudyError
from hpopt.comparison.settings import COMPARISON_FIELDS, ComparisonSettings
from hpopt.settings.study import FIELDS, Settings
from hpopt_envs import EnvironmentSettings
from hpopt_envs.settings import Source

GROUPS = ["task and data", "what is tuned", "who decides", "budget", "record", "machine"]
TYPED = {  # what a user may type, and what it means
    "seed": ("7", 7),
    "cost": ("1e6", 1e6),
    "time_limit": ("2h", 7200.0),
    "in_order": ("false", False),
    "fix": ("optimizer=sgd,lora_rank=16", {"optimizer": "sgd", "lora_rank": 16}),
    "portfolio": ("one,two", ("one", "two")),
    "max_divergence": ("none", "none"),
    "model": ("a:b", "a:b"),
}


@pytest.mark.parametrize("name", TYPED)
def test_what_is_typed_is_read_by_the_setting_s_type(name: str) -> None:
    typed, value = TYPED[name]
    assert FIELDS[name].parse(typed) == value
    FIELDS[name].check(value)


def test_every_setting_explains_itself_in_a_group() -> None:
    for field in [*FIELDS.values(), *COMPARISON_FIELDS.values()]:
        assert field.about["group"] in GROUPS
        assert "(default: " in field.about["help"], field.name


def test_every_setting_of_the_world_is_one_of_a_study() -> None:
    known = {path[-1] for path in (field.path for field in FIELDS.values())}
    for settings in (EnvironmentSettings, Source):
        asked = {f.name for f in settings.__dataclass_fields__.values() if f.metadata}
        assert asked <= known


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"trails": 3}, "unknown setting 'trails' (nearest: trials"),
        ({"trials": 0}, "trials: must be a whole number of at least 1, but got 0"),
        ({"trials": True}, "trials: must be a whole number of at least 1, but got True"),
        ({"seed": -1}, "seed: must be a whole number of at least 0, but got -1"),
        ({"seed": None}, "seed: must be a whole number of at least 0, but got None"),
        ({"cost": 0}, "cost: must be a number above 0, but got 0"),
        ({"target": float("nan")}, "target: must be a number, but got nan"),
        ({"max_divergence": -1}, "max_divergence: must be a number above 0 or 'none', but got -1"),
        ({"track": "all"}, "track: must be one of auto, trials, parents, but got 'all'"),
        ({"class_weights": "even"}, "class_weights: must be one of none, balanced, but got 'even'"),
        ({"baseline": 3}, "baseline: must be a table of values, but got 3"),
        ({"model": ""}, "model: must be a text, but got ''"),
        ({"in_order": "no"}, "in_order: must be true or false, but got 'no'"),
        ({"constraint": []}, "constraint: must be a list of texts, SCORE=MEAN, but got []"),
        ({"name": "../up"}, "name: must be up to 100 letters"),
        ({"pruner": "median"}, "pruner: must be said with the agent, such as tpe+median"),
        ({"prior": "none"}, "prior: must be said with the agent: tpe-cold is"),
        ({"agent": "tpe+"}, "agent: must be AGENT[-cold][+PRUNER], but got 'tpe+'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(values: dict[str, Any], line: str) -> None:
    with pytest.raises(HpoptError) as refused:
        Settings.of(values)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("tpe", ("tpe", "default", "none")),
        ("tpe-cold", ("tpe", "none", "none")),
        ("tpe+successive-halving", ("tpe", "default", "successive-halving")),
        ("range-test", ("range-test", "default", "none")),
        ("own_module:Own-cold+other.module:make", ("own_module:Own", "none", "other.module:make")),
    ],
)
def test_an_agent_s_name_has_its_prior_and_its_pruner(
    label: str, parts: tuple[str, str, str]
) -> None:
    searcher = Settings.of({"agent": label}).searcher
    assert (searcher.agent, searcher.prior, searcher.pruner) == parts


def test_studies_to_learn_from_imply_the_agent_that_does() -> None:
    assert Settings.of({"portfolio": ["a"]}).searcher.agent == "portfolio"
    assert Settings.of({"portfolio": ["a"], "agent": "tpe"}).searcher.agent == "tpe"


def test_a_record_is_read_back() -> None:
    asked = Settings.of(
        {
            "task": "classify",
            "train_file": "rows.csv",
            "agent": "gp-cold+median",
            "fix": {"lora_rank": 4},
            "constraint": ["regex:a=0.5"],
            "cost": 1e6,
            "runs": "elsewhere",
        }
    )
    record = json.loads(json.dumps(asked.flat()))
    assert set(record) == {*FIELDS, "pruner", "prior"}
    assert Settings.from_record(record) == asked
    assert asked.budget.trials is None
    assert asked.changed(trials=3).budget.trials == 3
    assert asked.changed(trials=3, cost=None).changed(trials=None, cost=1e6) == asked


def test_a_record_of_before_is_read() -> None:
    before = {**Settings.of({}).flat(), "class_weights": None, "too_long": None}
    assert Settings.from_record(before) == Settings()


def test_a_comparison_s_record_is_read_back() -> None:
    asked = ComparisonSettings.of({"task": "lm,classify", "agents": ["tpe", "ppo"], "seeds": 2})
    assert ComparisonSettings.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    with pytest.raises(StudyError, match="^seed: must be left out, since a comparison decides it$"):
        ComparisonSettings.of({"seed": 1})
    with pytest.raises(StudyError, match="^seeds: must be a whole number of at least 1"):
        ComparisonSettings.of({"seeds": 0})
