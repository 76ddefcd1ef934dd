"""What a study came to: an object for Python, files for the rest of the world."""

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_envs.records import RunFacts, Trial
from hpopt_search_spaces import SearchSpace, Value

from ..record.files import write_whole
from ..record.folders import StudyFolder
from ..record.history import History
from ..record.judged import Confirmation, Judged
from ..record.schedule import Schedule, Winner
from ..settings.study import Settings
from ..wording import counted, describe
from .confirmation import default_configuration

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]


@dataclass(frozen=True, repr=False)
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
        report_error: why there is no page about it; None where there is one.
    """

    name: str
    folder: Path
    history: History
    space: SearchSpace
    confirmation: Confirmation | None
    wall_seconds: float
    tracking_error: str | None = None
    report_error: str | None = None

    def __repr__(self) -> str:
        value = "None" if self.best_value is None else f"{self.best_value:.6g}"
        return (
            f"<StudyResult {self.name!r}: {self.facts.objective_name} on {self.facts.task}, "
            f"best_value={value}, {counted(len(self.trials), 'trial')}, cost={self.cost:.0f}>"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the trials, and where the page is."""
        told, where = html.escape(repr(self)), html.escape(str(self.folder))
        table = self.to_dataframe().to_html(border=0, index=False, float_format="{:.4g}".format)
        return f"<p>{told}</p>{table}<p>{where}</p>"

    def to_dataframe(self) -> "DataFrame":
        """Return the trials as a table of pandas', a row each in the order of their start.

        Columns: `trial`, `outcome`, `value` (the objective as its user knows it), the space's
        hyperparameters at the trial's end, `training_tokens` and `cost` (token-equivalents) of the
        trial, `wall_seconds`, and the metrics that were measured at its end.
        """
        from pandas import DataFrame

        return DataFrame([self._row(trial) for trial in self.trials])

    def _row(self, trial: Trial) -> dict[str, Any]:
        end = trial.path[-1] if trial.path else None
        values = {} if end is None else end.hyperparameters
        return {
            "trial": trial.id,
            "outcome": trial.outcome.value if trial.outcome else "running",
            "value": None if trial.value is None else self.facts.shown(trial.value),
            **{name: values.get(name) for name in self.space.names},
            "training_tokens": trial.trained_tokens,
            "cost": trial.cost,
            "wall_seconds": sum(segment.wall_seconds for segment in trial.segments),
            **({} if end is None else end.metrics),
        }

    @property
    def facts(self) -> RunFacts:
        """Of the training run."""
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
    def recommended(self) -> Schedule | None:
        """What to train with: the winner's schedule, or the default's where that was no worse.

        Which was worse is judged on fresh seeds; without them it is the winner's. None without a
        winner.
        """
        if self.best is None:
            return None
        gain = None if self.confirmation is None else self.confirmation.gain
        if gain is not None and gain <= 0:
            return Schedule.held(default_configuration(self.space, self.facts), self.facts)
        return Schedule.of(self.best)

    @property
    def cost(self) -> float:
        """Token-equivalents spent, the confirmation included."""
        return self.history.cost


def write_result(result: StudyResult, settings: Settings) -> None:
    """Write result.json, schedule.json and, beside saved weights, their model card."""
    folder = StudyFolder(result.folder)
    write_whole(folder.result, json.dumps(_summary(result), indent=2) + "\n")
    if result.best is None:
        return
    winner = Winner.of(result.history, "schedule")
    schedule = json.dumps(winner.to_json(), indent=2) + "\n"
    write_whole(folder.schedule, schedule)
    if folder.best.is_dir() and not folder.best.is_symlink():
        write_whole(folder.best / "README.md", _model_card(result, settings))


def has_weights(folder: StudyFolder, best: Trial) -> bool:
    """Return whether a study that ended before has the weights of the winner of now.

    Args:
        folder: of the study.
        best: its winner now.
    """
    if not folder.best.is_dir() or folder.best.is_symlink():
        return False
    result = folder.read_result()
    return result is not None and bool(result["best_trial"] == best.id)


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
        f"{path[-1].training_tokens:,} training tokens, agent `{settings.searcher.agent}`. These "
        "weights show what the schedule does; they come from a short trial, not from a full run.",
        "",
        f"- {facts.objective_name} on validation{f', {facts.unit}' if facts.unit else ''}: "
        f"{path[-1].metrics[facts.objective_name]:.4g} at the end, "
        f"{facts.base_metrics[facts.objective_name]:.4g} of the base model",
        f"- hyperparameters of the first segment: {describe(path[0].hyperparameters)}",
        "- the whole schedule: `schedule.json` in the folder above",
        "",
    ]
    return "\n".join(lines)
