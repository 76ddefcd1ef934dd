"""What a study came to: an object for Python, files for the rest of the world."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpopt_envs.records import RunFacts, Trial
from hpopt_search_spaces import SearchSpace, Value

from ..record.folders import StudyFolder
from ..record.history import History
from ..record.judged import Confirmation, Judged
from ..record.schedule import Schedule, Winner
from ..settings.study import Settings
from ..wording import describe


@dataclass(frozen=True)
class StudyResult:
    """A study that ended.

    Attributes:
        name: of the study.
        folder: where its journal and results are.
        history: everything it knows.
        space: resolved.
        confirmation: winner and default on fresh seeds; None where it was skipped.
        wall_seconds: taken by this process.
        tracking_error: what is missing in MLflow and why; None where the record is complete.
    """

    name: str
    folder: Path
    history: History
    space: SearchSpace
    confirmation: Confirmation | None
    wall_seconds: float
    tracking_error: str | None = None

    @property
    def facts(self) -> RunFacts:
        return self.history.facts

    @property
    def trials(self) -> list[Trial]:
        """The search's trials, in the order of their start."""
        tests = self.history.tests
        return [trial for trial in self.history.trials.values() if trial.id not in tests]

    @property
    def best(self) -> Trial | None:
        """The winner on validation; None where no trial ended with a value, or within the limit."""
        return self.history.best

    @property
    def best_value(self) -> float | None:
        """The winner's objective as its user knows it; None without a winner."""
        if self.best is None or self.best.value is None:
            return None
        return self.facts.shown(self.best.value)

    @property
    def schedule(self) -> list[dict[str, Value]]:
        """The winner's hyperparameters, one mapping a segment; equal ones for a configuration."""
        return [] if self.best is None else Schedule.of(self.best).hyperparameters

    @property
    def cost(self) -> float:
        """Token-equivalents spent, the confirmation included."""
        return self.history.cost


def write_result(result: StudyResult, settings: Settings) -> None:
    """Write result.json, schedule.json and, beside saved weights, their model card."""
    folder = StudyFolder(result.folder)
    folder.result.write_text(json.dumps(_summary(result), indent=2) + "\n")
    if result.best is None:
        return
    winner = Winner.of(result.history, "schedule")
    schedule = json.dumps(winner.to_json(), indent=2) + "\n"
    folder.schedule.write_text(schedule)
    if folder.best.is_dir():
        (folder.best / "README.md").write_text(_model_card(result, settings))


def _summary(result: StudyResult) -> dict[str, Any]:
    history, facts, confirmation = result.history, result.facts, result.confirmation
    summary: dict[str, Any] = {
        "name": result.name,
        "objective": facts.objective_name,
        "unit": facts.unit,
        "maximize": facts.maximize,
        "forgetting_weight": facts.forgetting_weight,
        "max_divergence": facts.max_divergence,
        "base_value": facts.shown(facts.base_objective),
        "best_value": result.best_value,
        "best_trial": result.best.id if result.best else None,
        "best_metrics": dict(result.best.segments[-1].metrics) if result.best else None,
        "trials": len(result.trials),
        "training_tokens": history.training_tokens,
        "search_cost": history.search_cost,
        "cost": history.cost,
    }
    if confirmation is not None:
        summary["test"] = {
            "winner": _judged(facts, confirmation.winner),
            "default": _judged(facts, confirmation.default),
            "default_won": confirmation.default_won,
        }
    return summary


def _judged(facts: RunFacts, judged: Judged) -> dict[str, Any]:
    return {
        "values": [facts.shown(value) for value in judged.values],
        "metrics": [dict(metrics) for metrics in judged.metrics],
        "failures": list(judged.failures),
    }


def _model_card(result: StudyResult, settings: Settings) -> str:
    best, facts = result.best, result.facts
    assert best is not None
    path = best.path
    lines = [
        f"# {facts.model} after one short trial",
        "",
        f"Trial {best.id} of the hpopt study `{result.name}`: task `{facts.task}`, "
        f"{path[-1].training_tokens:,} training tokens, agent `{settings.agent}`. These weights "
        "show what the schedule does; they come from a short trial, not from a full run.",
        "",
        f"- {facts.objective_name} on validation{f', {facts.unit}' if facts.unit else ''}: "
        f"{path[-1].metrics[facts.objective_name]:.4g} at the end, "
        f"{facts.base_metrics[facts.objective_name]:.4g} of the base model",
        f"- hyperparameters of the first segment: {describe(path[0].hyperparameters)}",
        "- the whole schedule: `schedule.json` in the folder above",
        "",
    ]
    return "\n".join(lines)
