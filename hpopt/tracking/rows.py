"""What of a study MLflow shows, and under which names: pure functions of what happened."""

import math
import re
from collections.abc import Mapping
from typing import Any

from hpopt_envs.records import Outcome, RunFacts, Segment, Trial

from ..record.history import History
from ..wording import limit, objective

STATUS = {  # of a trial's run, by its outcome
    Outcome.COMPLETED: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.EXPLODED: "FAILED",
    Outcome.OUT_OF_MEMORY: "FAILED",
    Outcome.FAILED: "FAILED",
}
ABOUT = ("task", "model", "agent", "pruner", "seed", "workers")  # parts of a header
OF_A_COMPARISON = ("comparison", "searcher")  # parts of the header of one of its studies


def key(name: str) -> str:
    """Return a name that MLflow takes for a metric or a parameter."""
    return re.sub(r"[^A-Za-z0-9_.\- ]", "_", name)


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return those that MLflow can show: it stores infinity as 1.8e308."""
    return {
        key(name): float(value)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    }


def segment_metrics(facts: RunFacts, segment: Segment) -> dict[str, float]:
    """Return metrics of one segment, hyperparameters that are numbers included."""
    numbers = {
        name: value
        for name, value in segment.hyperparameters.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    objective = None if segment.objective is None else facts.shown(segment.objective)
    return finite(
        numbers
        | dict(segment.metrics)
        | {
            "objective": objective,
            "train_loss": segment.train_loss,
            "penalty": segment.penalty,
            "gradient_norm": segment.gradient_norm,
            "gradient_norm_std": segment.gradient_norm_std,
            "clip_fraction": segment.clip_fraction,
            "noise_scale": segment.noise_scale,
            "probe_loss": segment.probe_loss,
            "training_tokens": segment.training_tokens,
            "optimizer_steps": segment.optimizer_steps,
            "cost": segment.cost,
            "wall_seconds": segment.wall_seconds,
        }
    )


def trial_params(trial: Trial) -> dict[str, str]:
    """Return hyperparameters of a trial's first segment; what changes later is in the metrics."""
    first = trial.segments[0].hyperparameters if trial.segments else {}
    return {key(name): str(value) for name, value in first.items()}


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
    """Tags that a trial's run gets at its end."""
    tags = {"hpopt.outcome": trial.outcome.value if trial.outcome else "running"}
    if trial.reason:
        tags["hpopt.reason"] = trial.reason
    if trial.pruned:
        tags["hpopt.pruned"] = "true"
    if trial.value is not None and facts.max_divergence is not None:
        tags["hpopt.feasible"] = str(facts.feasible(trial.segments[-1].metrics)).lower()
    return tags


def unit_tags(facts: RunFacts) -> dict[str, str]:
    """Units of metrics and parameters that have one."""
    units = {
        "step": "token-equivalents spent in the study",
        "cost": "token-equivalents",
        "training_tokens": "tokens",
        "batch_size": "sequences per optimizer step",
        "train_loss": "nats/token",
        "divergence": "nats",  # a token, or an example of a classifier's
        "target_divergence": "nats",
        "max_divergence": "nats",
        "forgetting": "nats/token",
        "wall_seconds": "seconds",
        "objective": facts.unit,
        facts.objective_name: facts.unit,
    }
    return {f"unit.{key(name)}": unit for name, unit in units.items() if unit}


def study_params(history: History) -> dict[str, str]:
    """Return settings of the study's first budget: MLflow's parameters can't change."""
    header = history.header
    about = {name: header[name] for name in ABOUT}
    return {
        key(name): str(value)
        for name, value in {**public(header["settings"]), **about}.items()
        if isinstance(value, str | int | float) and value != ""
    }


def public(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without what may hold a password."""
    return {name: value for name, value in settings.items() if name != "tracking_uri"}


def study_tags(history: History) -> dict[str, str]:
    """Tags that a study's run gets at its start."""
    header, facts = history.header, history.facts
    versions = {f"version.{name}": str(what) for name, what in header["versions"].items()}
    names = (*ABOUT, *OF_A_COMPARISON)
    about = {f"hpopt.{name}": str(header[name]) for name in names if header.get(name) is not None}
    return {
        **about,
        "hpopt.study": header["name"],
        "hpopt.data_hash": facts.data_hash,
        "hpopt.model_hash": facts.model_hash,
        **versions,
        **unit_tags(facts),
        "hpopt.base_objective": f"{facts.shown(facts.base_objective):.6g}",
        "mlflow.note.content": note(history),
        "mlflow.source.name": "hpopt",
    }


def note(history: History) -> str:
    """Return what the study is, as Markdown."""
    header, facts = history.header, history.facts
    direction = "highest" if facts.maximize else "lowest"
    unit = f" ({facts.unit})" if facts.unit else ""
    return (
        f"**{header['agent']}** looks for the hyperparameters of *{facts.task}* on "
        f"`{facts.model}` ({facts.total_parameters:,} parameters, "
        f"{facts.trainable_parameters:,} trained) that give the {direction} "
        f"{objective(facts)}{limit(facts)}.\n\n"
        f"The base model has {facts.shown(facts.base_objective):.4g}{unit}. "
        "Steps of all metrics are the study's cost in token-equivalents: forward and backward on "
        "a token is 1. A child run is a trial, a step one of its segments."
    )
