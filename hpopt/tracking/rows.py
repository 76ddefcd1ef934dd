"""What of a study MLflow shows, and under which names: pure functions of what happened."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpopt_envs.records import Outcome, RunFacts, Segment, Trial
from hpopt_search_spaces import Value

from ..record.history import History
from ..wording import counted, duration, limit, objective
from .names import key

STATUS = {  # of a trial's run, by its outcome
    Outcome.COMPLETED: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.EXPLODED: "FAILED",
    Outcome.OUT_OF_MEMORY: "FAILED",
    Outcome.FAILED: "FAILED",
}
ABOUT = ("task", "model", "agent", "pruner", "seed", "workers")  # parts of a header
OF_A_COMPARISON = ("comparison", "searcher")  # parts of the header of one of its studies
SCHEDULE = "schedule"  # before what changes by segment
LIMITS = ("cost", "time_limit")  # settings that `budget` words


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return those that MLflow can show: it stores infinity as 1.8e308."""
    return {
        key(name): float(value)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    }


def segment_metrics(facts: RunFacts, segment: Segment) -> dict[str, float]:
    """Return metrics of one segment, hyperparameters that are numbers included.

    These aren't named as the trial's parameters are, which say it of the whole trial.
    """
    numbers = {
        f"{SCHEDULE}/{key(name)}": float(value)
        for name, value in segment.hyperparameters.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    objective = None if segment.objective is None else facts.shown(segment.objective)
    ours = {
        "objective": objective,
        "train_loss": segment.train_loss,
        "penalty": segment.penalty,
        "gradient_norm": segment.gradient_norm,
        "gradient_norm_std": segment.gradient_norm_std,
        "clip_fraction": segment.clip_fraction,
        "noise_scale": segment.noise_scale,
        "probe_loss": segment.probe_loss,
        "probe_forgetting": segment.probe_forgetting,
        "training_tokens": segment.training_tokens,
        "optimizer_steps": segment.optimizer_steps,
        "cost": segment.cost,
        "wall_seconds": segment.wall_seconds,
    }
    taken = {*ours, "value"}  # a task's metric of such a name stays apart
    measured = {n: value for n, value in segment.metrics.items() if n not in taken}
    others = finite({n: segment.metrics[n] for n in segment.metrics if n in taken})
    apart = {f"metric/{name}": value for name, value in others.items()}
    on_test = finite(dict(segment.test_metrics))
    apart |= {f"test/{name}": value for name, value in on_test.items()}
    if segment.test_objective is not None:
        apart["test/objective"] = facts.shown(segment.test_objective)
    return numbers | apart | finite(measured | ours)


def trial_params(trial: Trial) -> dict[str, str]:
    """Return the hyperparameters of a trial that ended, on its path to the final weights."""
    names = {name: None for segment in trial.path for name in segment.hyperparameters}
    paths = {
        name: [s.hyperparameters[name] for s in trial.path if name in s.hyperparameters]
        for name in names
    }
    return {key(name): in_a_word(values) for name, values in paths.items()}


def in_a_word(values: Sequence[Value]) -> str:
    """Return what a hyperparameter was over a run: its value, or "low…high" where it changed."""
    if isinstance(values[0], str) or len(set(values)) == 1:
        return str(values[-1])
    return f"{min(map(float, values)):.4g}…{max(map(float, values)):.4g}"


def best_metrics(history: History) -> dict[str, float]:
    """Return the best trial's value, and what it is made of and limited by; {} without a best."""
    best, facts = history.best, history.facts
    if best is None or best.value is None:
        return {}
    metrics = best.segments[-1].metrics
    parts = (facts.objective_name, "forgetting", "divergence")
    side_by_side = {f"best_{name}": metrics[name] for name in parts if name in metrics}
    return finite(side_by_side | {"best_value": facts.shown(best.value)})


def trial_tags(facts: RunFacts, trial: Trial) -> dict[str, str]:
    """Return tags that a trial's run gets at its end."""
    tags = {"hpopt.outcome": trial.outcome.value if trial.outcome else "running"}
    if trial.reason:
        tags["hpopt.reason"] = trial.reason
    if trial.pruned:
        tags["hpopt.pruned"] = "true"
    if trial.value is not None and facts.max_divergence is not None:
        tags["hpopt.feasible"] = str(facts.feasible(trial.segments[-1].metrics)).lower()
    return tags


def study_params(history: History) -> dict[str, str]:
    """Return settings of the study's first budget: MLflow's parameters can't change."""
    header = history.header
    asked = {name: v for name, v in public(header["settings"]).items() if name not in LIMITS}
    about = {name: header[name] for name in ABOUT} | {"budget": budget(header)}
    return {key(name): told for name, v in {**asked, **about}.items() if (told := _told(v))}


def _told(value: Any) -> str:
    """Return a setting as it is typed; "" where nothing was said."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def budget(header: Mapping[str, Any]) -> str:
    """Return what a study may spend: "6 runs", or another limit that it was given."""
    asked, told = header["settings"], []
    if "confirms" in header:
        return ""
    runs = header.get("equivalents") or asked.get("trials")
    if runs is not None:
        told.append(counted(runs, "run"))
    elif asked.get("cost") is not None:
        told.append(f"{asked['cost']:,.0f} token-equivalents")
    if asked.get("time_limit") is not None:
        told.append(duration(asked["time_limit"]))
    return " or ".join(told)


def public(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without what may hold a password."""
    return {name: value for name, value in settings.items() if name != "tracking_uri"}


def study_tags(history: History) -> dict[str, str]:
    """Return tags that a study's run gets at its start: what it is found by, and no more."""
    header = history.header
    names = ("agent", "seed", *OF_A_COMPARISON)
    about = {f"hpopt.{name}": str(header[name]) for name in names if header.get(name) is not None}
    return {
        **about,
        "hpopt.study": header["name"],
        "mlflow.note.content": note(history),
        "mlflow.source.name": "hpopt",
    }


def made_of(history: History) -> dict[str, Any]:
    """Return what a study rests on: versions of packages, data and model."""
    facts = history.facts
    hashes = {"data_hash": facts.data_hash, "model_hash": facts.model_hash}
    return {"versions": history.header["versions"], **hashes}


def note(history: History) -> str:
    """Return what the study is, as Markdown."""
    header, facts = history.header, history.facts
    if "confirms" in header:
        return "The best schedule of each searcher, on fresh seeds, judged on the test split."
    direction = "highest" if facts.maximize else "lowest"
    unit = f" ({facts.unit})" if facts.unit else ""
    if facts.external:
        return (
            f"**{header['agent']}** looks for the hyperparameters of `{facts.model}` that give the "
            f"{direction} {objective(facts)}.\n\nSteps are the study's cost: tokens where the "
            "script reports them, else seconds. A child run is a trial."
        )
    return (
        f"**{header['agent']}** looks for the hyperparameters of *{facts.task}* on "
        f"`{facts.model}` ({facts.total_parameters:,} parameters, "
        f"{facts.trainable_parameters:,} trained) that give the {direction} "
        f"{objective(facts)}{limit(facts)}.\n\n"
        f"The base model has {facts.shown(facts.base_objective):.4g}{unit}. "
        "Steps are the study's cost in token-equivalents: forward and backward on a token is 1. "
        "A child run is a trial."
    )
