"""From a trial's records to the arrays that its observation is made of."""

from collections.abc import Mapping

import numpy as np

from hpopt_search_spaces import SearchSpace, Value

from ..messages import StudyFacts
from ..records import RunFacts, Trial
from . import features


def trace(
    space: SearchSpace,
    facts: RunFacts,
    initial: tuple[float, ...],
    trial: Trial,
    study: StudyFacts,
) -> features.Traces:
    """Return the arrays (n = 1) that the observation of a trial is made of."""
    path = trial.path
    defaults = space.defaults()
    points = [space.decode(initial), *(segment.hyperparameters for segment in path)]

    def column(values: list[float | None]) -> features.Array:
        filled = [np.nan if value is None else value for value in values] or [np.nan]
        return np.array([filled], dtype=np.float64)

    improvement = [
        None if s.objective is None else _improvement(facts, s.objective, s.metrics) for s in path
    ]
    constants = [
        np.log10(facts.trainable_parameters),
        np.log10(facts.trial_tokens),
        float(facts.lora),
    ]
    return features.Traces(
        length=np.array([len(path)]),
        train_loss=column([s.train_loss for s in path]),
        validation_loss=column([s.metrics.get("loss") for s in path]),
        improvement=column(improvement),
        divergence=column([s.metrics.get("divergence") for s in path]),
        gradient_norm=column([s.gradient_norm for s in path]),
        gradient_norm_std=column([s.gradient_norm_std for s in path]),
        clip_fraction=column([s.clip_fraction for s in path]),
        noise_scale=column([s.noise_scale for s in path]),
        ratios=np.array([[_ratios(point, defaults) for point in points]]),
        weight_is_zero=np.array([points[-1].get("divergence_weight") == 0.0], dtype=np.float64),
        progress=np.array([trial.trained_tokens / facts.trial_tokens]),
        base_loss=np.array([facts.base_loss]),
        constants=np.array([constants]),
        study=np.array([[study.budget_left, study.best_improvement, study.rank]]),
    )


def _improvement(facts: RunFacts, objective: float, metrics: Mapping[str, float]) -> float:
    gain = facts.base_objective_subset - facts.constrained(objective, metrics)
    return gain / facts.objective_scale


def _ratios(point: Mapping[str, Value], defaults: Mapping[str, Value]) -> list[float]:
    """Return log2 ratios to the default of the canonical hyperparameters; NaN where one is missing.

    A weight of 0 on either side has no ratio: it counts as 0 there, and has its own flag.
    """
    ratios = []
    for name in features.CANONICAL:
        if name not in point or name not in defaults:
            ratios.append(float("nan"))
            continue
        value, default = float(point[name]), float(defaults[name])
        ratios.append(float(np.log2(value / default)) if value > 0 and default > 0 else 0.0)
    return ratios
