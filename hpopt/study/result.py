"""What a study came to: an object for Python, files for the rest of the world."""

import html
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpopt_envs.records import RunFacts, Trial
from hpopt_search_spaces import SearchSpace, Value

from ..record.files import write_whole
from ..record.final import Final
from ..record.folders import StudyFolder
from ..record.history import History
from ..record.judged import Judged
from ..record.recommended import Recommended
from ..record.schedule import Schedule
from ..settings.study import Settings
from ..tracking import Incomplete
from ..wording import counted, describe

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
        wall_seconds: taken by this process.
        tracking_error: what is missing in MLflow and why; None where the record is complete.
        pages: addresses of the study's own page in MLflow and of its experiment's chart, where
            `hpopt ui` or the server answers; empty where nothing was recorded.
        report_error: why there is no page about it; None where there is one.
    """

    name: str
    folder: Path
    history: History
    space: SearchSpace
    wall_seconds: float
    tracking_error: Incomplete | None = None
    pages: tuple[str, ...] = ()
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
        """The search's winner on validation; None where no trial has a value within the limit.

        It is the luckiest of all trials, which isn't what is recommended unless the final says so.
        """
        return self.history.best

    @cached_property
    def recommendation(self) -> Recommended | None:
        """What to train with, why, and how sure that is; None without a winner."""
        return None if self.best is None else Recommended.of(self.history, "result")

    @property
    def recommended(self) -> Schedule | None:
        """What to train with; None without a winner."""
        return None if self.recommendation is None else self.recommendation.schedule

    @property
    def why(self) -> str | None:
        """Why that, and how sure it is, in a sentence; None without a winner."""
        return None if self.recommendation is None else self.recommendation.why

    @property
    def best_value(self) -> float | None:
        """The objective of what is recommended, on validation, as its user knows it.

        The mean over the final's fresh seeds; without a final, the winner's. None without a winner.
        """
        return None if self.recommendation is None else self.recommendation.value

    @property
    def schedule(self) -> list[dict[str, Value]]:
        """The recommended hyperparameters, a mapping a segment; equal ones for a configuration."""
        return [] if self.recommended is None else self.recommended.hyperparameters

    @property
    def final(self) -> Final | None:
        """The final on fresh seeds; None where there was none."""
        return None if self.recommendation is None else self.recommendation.final

    @property
    def cost(self) -> float:
        """Token-equivalents spent, the final included."""
        return self.history.cost


def write_result(result: StudyResult, settings: Settings) -> None:
    """Write result.json, schedule.json and, beside saved weights, their model card."""
    folder, recommendation = StudyFolder(result.folder), result.recommendation
    write_whole(folder.result, json.dumps(_summary(result), indent=2) + "\n")
    if recommendation is None:
        return
    write_whole(folder.schedule, json.dumps(recommendation.to_json(), indent=2) + "\n")
    if folder.best.is_dir() and not folder.best.is_symlink():
        write_whole(folder.best / "README.md", _model_card(result, recommendation, settings))


def has_weights(folder: StudyFolder, trial: Trial) -> bool:
    """Return whether a study that ended before has the weights of a trial.

    Args:
        folder: of the study.
        trial: of the search, or of the final.
    """
    if not folder.best.is_dir() or folder.best.is_symlink():
        return False
    result = folder.read_result()
    return result is not None and bool(result.get("weights_trial") == trial.id)


def _summary(result: StudyResult) -> dict[str, Any]:
    history, facts, found = result.history, result.facts, result.recommendation
    summary: dict[str, Any] = {
        "name": result.name,
        "objective": facts.objective_name,
        "unit": facts.unit,
        "maximize": facts.maximize,
        "forgetting_weight": facts.forgetting_weight,
        "max_divergence": facts.max_divergence,
        "base_value": None if facts.external else facts.shown(facts.base_objective),
        "best_value": result.best_value,
        "best_trial": found.trial if found else None,
        "best_metrics": found.metrics if found else None,
        "weights_trial": found.example.id if found and found.example else None,
        "trials": len(result.trials),
        "training_tokens": history.training_tokens,
        "search_cost": history.search_cost,
        "cost": history.cost,
    }
    best = result.best
    if found is None or best is None or best.value is None:
        return summary
    summary["winner"] = {"trial": best.id, "value": facts.shown(best.value)}
    summary["recommended"] = {
        "configuration": found.name,
        "why": found.why,
        "segments": found.schedule.to_json(),
    }
    if found.final is not None:
        summary |= _of_final(found.final, found.name)
    return summary


def _of_final(final: Final, recommended: str) -> dict[str, Any]:
    """Return what a final came to: on validation for all, on test for what is shown of that."""
    facts = final.history.facts
    entrants = [
        {
            "configuration": one.name,
            "values": [
                facts.shown(run.value) for run in final.runs[one.name] if run.value is not None
            ],
            "failures": [run.reason for run in final.runs[one.name] if run.value is None],
        }
        for one in final.entrants
    ]
    noise = final.noise
    best = final.history.best
    assert best is not None
    won = Schedule.of(best, facts).hyperparameters
    same = [one.name for one in final.entrants if one.schedule.hyperparameters == won]
    tied = [one.name for one in final.entrants if one.name not in final.always]
    shown = {"recommended": recommended} | {name: name for name in final.always}
    shown |= dict(zip(["winner"], [*same, *tied], strict=False))  # of equal ones, who is in it
    return {
        "final": {
            "entrants": entrants,
            "noise": noise.deviation if noise.degrees else None,
            "degrees_of_freedom": noise.degrees,
        },
        "test": {who: _judged(facts, final.tested(name)) for who, name in shown.items()},
    }


def _judged(facts: RunFacts, judged: Judged) -> dict[str, Any]:
    return {
        "values": [facts.shown(value) for value in judged.values],
        "metrics": [dict(metrics) for metrics in judged.metrics],
        "failures": list(judged.failures),
    }


def _model_card(result: StudyResult, recommendation: Recommended, settings: Settings) -> str:
    facts, example = result.facts, recommendation.example
    assert example is not None
    path = example.path
    lines = [
        f"# {facts.model} after one short trial",
        "",
        f"Of the hpopt study `{result.name}`: {recommendation.name}, task `{facts.task}`, "
        f"{path[-1].training_tokens:,} training tokens, agent `{settings.searcher.agent}`. "
        f"{recommendation.why} These weights show what that does; they come from a short trial, "
        "not from a full run.",
        "",
        f"- {facts.objective_name} on validation{f', {facts.unit}' if facts.unit else ''}: "
        f"{path[-1].metrics[facts.objective_name]:.4g} at the end, "
        f"{facts.base_metrics[facts.objective_name]:.4g} of the base model",
        f"- hyperparameters of the first segment: {describe(path[0].hyperparameters)}",
        "- the whole schedule: `schedule.json` in the folder above",
        "",
    ]
    return "\n".join(lines)
