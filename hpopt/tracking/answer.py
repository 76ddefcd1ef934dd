"""What a study that ended came to, as its run in MLflow shows it: figures, tags, a description."""

import json
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from ..record.folders import StudyFolder
from ..record.history import History
from ..wording import counted
from .names import key
from .rows import finite, in_a_word, note

SHOWN = ("recommended", "default", "baseline")  # of the test split


def read_result(folder: StudyFolder) -> Mapping[str, Any]:
    """Return what a study's result file says; {} where there is none."""
    if not folder.has_ended:
        return {}
    result: Mapping[str, Any] = json.loads(folder.result.read_text(encoding="utf-8"))
    return result


def answer_metrics(history: History, result: Mapping[str, Any]) -> dict[str, float]:
    """Return what the recommended and the default came to on the test split, and what all cost."""
    figures: dict[str, float | None] = {
        "total_cost": history.cost,
        "search_cost": history.search_cost,
        "ended_trials": len(history.trials) - len(history.tests),
    }
    if not history.facts.external:
        figures["base_value"] = history.facts.shown(history.facts.base_objective)
    tested = _tested(result)
    for who, value in tested.items():
        figures[f"test_value_{who}"] = value
    if {"default", "recommended"} <= tested.keys():
        gain = tested["default"] - tested["recommended"]
        figures["test_gain"] = -gain if history.facts.maximize else gain
    return finite(figures)


def _tested(result: Mapping[str, Any]) -> dict[str, float]:
    """Return mean values on the test split, of the recommended, the default and the baseline."""
    test = result.get("test", {})
    values = {who: test[who]["values"] for who in SHOWN if who in test}
    return {who: mean(found) for who, found in values.items() if found}


def recommended(history: History, result: Mapping[str, Any]) -> dict[str, str]:
    """Return the recommended hyperparameters of the space, by name, as texts."""
    segments = result.get("recommended", {}).get("segments", ())
    names: Sequence[str] = [one["name"] for one in history.header["space"]["parameters"]]
    paths = {
        name: [s["hyperparameters"][name] for s in segments if name in s["hyperparameters"]]
        for name in names
    }
    return {name: in_a_word(values) for name, values in paths.items() if values}


def answer_tags(history: History, result: Mapping[str, Any]) -> dict[str, str]:
    """Return tags with what is recommended; they may change when a study is extended."""
    values = recommended(history, result)
    tags = {f"recommended.{key(name)}": value for name, value in values.items()}
    if values:
        tags["recommended"] = result["recommended"]["configuration"]
    return tags | {"mlflow.note.content": _described(history, result, values)}


def _described(history: History, result: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Return a study's description with its answer, as Markdown."""
    if not values:
        return note(history)
    rows = [f"| `{name}` | {value} |" for name, value in values.items()]
    chosen = result["recommended"]
    lines = [
        f"**Recommended:** {chosen['configuration']}. {chosen['why']}",
        "",
        *_figures(history, result),
        "| hyperparameter | value |",
        "| --- | --- |",
        *rows,
        "",
        f"{counted(len(history.trials) - len(history.tests), 'trial')}, "
        f"{history.cost:,.0f} {history.cost_unit} in all.",
        "",
        note(history),
    ]
    return "\n".join(lines)


def _figures(history: History, result: Mapping[str, Any]) -> list[str]:
    tested = _tested(result)
    if not tested:
        return []
    unit = f" {history.facts.unit}" if history.facts.unit else ""
    told = ", ".join(f"{who} {value:.4f}" for who, value in tested.items())
    return [f"**On the test split:** {told}{unit}.", ""]
