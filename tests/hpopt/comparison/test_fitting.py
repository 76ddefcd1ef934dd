"""A comparison's default searchers are those that its tasks allow."""

import csv
from pathlib import Path
from typing import Any

import pytest

from hpopt.comparison.compare import compare, open_comparison
from hpopt.comparison.settings import ComparisonSettings

EVERYBODY = ("learned", "range-test", "tpe", "tpe-cold", "gp", "ppo")


@pytest.fixture
def table(tmp_path: Path) -> str:
    rows = [
        {"task": task, "learning_rate": 10.0**-k, "loss": abs(k - best)}
        for task, best in (("a", 2), ("b", 3))
        for k in range(1, 6)
    ]
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return f"table:{tmp_path / 'runs.csv'}"


@pytest.mark.parametrize(
    ("asked", "who"),
    [
        ({"task": "lm,classify"}, EVERYBODY),
        ({"task": "simulated"}, EVERYBODY),
        ({"task": "lm,align"}, EVERYBODY[2:]),
        ({"task": "lm", "fix": {"learning_rate": 1e-3}}, EVERYBODY[2:]),
        ({"task": "align", "agents": ("range-test", "tpe")}, ("range-test", "tpe")),
    ],
)
def test_those_take_part_that_all_tasks_allow(asked: dict[str, Any], who: tuple[str, ...]) -> None:
    assert ComparisonSettings.of(asked).agents == who


def test_a_table_is_compared_without_naming_anybody(table: str, tmp_path: Path) -> None:
    runs = tmp_path / "läufe #1 50%"
    asked = {"task": table, "seeds": 1, "trials": 3, "runs": str(runs), "name": "otters"}
    settings = ComparisonSettings.of(asked)
    assert settings.agents == ("tpe", "tpe-cold", "gp")
    compared = compare(settings, open_comparison(settings), lambda line: None)
    assert compared.tracking_error is None
    assert (runs / "mlflow.db").is_file()


def test_a_policy_is_for_those_who_go_by_one() -> None:
    asked = {"task": "lm", "agents": ("learned", "tpe"), "policy": "mine"}
    settings = ComparisonSettings.of(asked)
    policies = {
        who.agent: settings.study_settings("otters", "lm", who, 0).searcher.policy
        for who in settings.contestants
    }
    assert policies == {"learned": "mine", "tpe": None, "default": None, "random": None}
