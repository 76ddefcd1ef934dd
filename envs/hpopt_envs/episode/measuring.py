"""What a stretch of training came to: evaluated where it is due, and put on record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hpopt_search_spaces import Value

from ..records import Control, Outcome, RunFacts, Segment, Trial
from ..training_run import Probe, Progress, TrainingRun
from .state import EpisodeState

ENDED = (Outcome.COMPLETED, Outcome.STOPPED)  # with a value


@dataclass(frozen=True)
class Measured:
    """What is known at the end of a segment.

    Attributes:
        outcome: of the trial; None where it goes on.
        reason: of the outcome.
        cost: of training and measuring, in token-equivalents.
        metrics: empty where nothing was evaluated.
        objective: None where nothing was evaluated, or training had exploded.
        test_metrics, test_objective: see `Segment`.
    """

    outcome: Outcome | None
    reason: str
    cost: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    objective: float | None = None
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    test_objective: float | None = None


def reaches_horizon(facts: RunFacts, trial: Trial, progress: Progress) -> bool:
    """Return whether a trial has trained all of its tokens, where it is known how many that are."""
    if facts.external:
        return False
    return trial.trained_tokens + progress.tokens >= facts.trial_tokens


def measure(
    run: TrainingRun, episode: EpisodeState, progress: Progress, *, stops: bool, validates: bool
) -> Measured:
    """Evaluate a trial after a segment: at its end, and in between where that is asked for.

    Args:
        run: the training run.
        episode: the trial, before the segment is on its record.
        progress: of the segment.
        stops: whether the trial is to end here.
        validates: whether it is evaluated where it goes on; one that is tested never is.
    """
    outcome, reason = progress.outcome, progress.reason
    if outcome not in (None, Outcome.COMPLETED):
        return Measured(outcome, reason, progress.cost)
    # A finished run may be shorter than the horizon.
    if reaches_horizon(run.facts, episode.trial, progress):
        outcome = Outcome.COMPLETED
    elif outcome is None and stops:
        outcome, reason = Outcome.STOPPED, "stopped by the agent"
    whole = outcome is not None
    if not whole and (episode.tests or not validates):
        return Measured(outcome, reason, progress.cost)
    evaluation = run.evaluate(episode.position.state, "validation", whole)
    cost, metrics = progress.cost + evaluation.cost, evaluation.metrics
    constrained = run.facts.constrained(evaluation.objective, metrics)
    if not np.isfinite(constrained):
        reason = f"objective is {constrained} on validation"
        return Measured(Outcome.EXPLODED, reason, cost, metrics)
    measured = Measured(outcome, reason, cost, metrics, evaluation.objective)
    tests = episode.tests and not run.facts.external
    return _tested(run, episode, measured) if tests else measured


def _tested(run: TrainingRun, episode: EpisodeState, measured: Measured) -> Measured:
    """Return what was measured at a trial's end, and what the test split says beside it."""
    evaluation = run.evaluate(episode.position.state, "test", True)
    objective = evaluation.objective if np.isfinite(evaluation.objective) else None
    return replace(
        measured,
        cost=measured.cost + evaluation.cost,
        test_metrics=evaluation.metrics,
        test_objective=objective,
    )


def record(
    facts: RunFacts,
    episode: EpisodeState,
    progress: Progress,
    measured: Measured,
    hyperparameters: Mapping[str, Value],
    control: Control,
    probe: Probe | None,
    wall_seconds: float,
) -> Segment:
    """Return a segment as it goes on record; it begins where the trial stood before."""
    here, segments = episode.position.segment, episode.trial.segments
    parent = None if here is None else segments[here]
    return Segment(
        id=len(segments),
        parent=parent.id if parent else None,
        hyperparameters=progress.hyperparameters or hyperparameters,
        tokens=progress.tokens,
        training_tokens=progress.tokens + (parent.training_tokens if parent else 0),
        optimizer_steps=progress.optimizer_steps,
        train_loss=progress.train_loss,
        penalty=progress.penalty,
        gradient_norm=progress.gradient_norm,
        gradient_norm_std=progress.gradient_norm_std,
        clip_fraction=progress.clip_fraction,
        noise_scale=progress.noise_scale,
        metrics=measured.metrics,
        objective=measured.objective,
        control=control,
        cost=measured.cost,
        study_cost=0.0,
        flops=6.0 * facts.total_parameters * measured.cost,
        wall_seconds=wall_seconds,
        probe_loss=None if probe is None else probe.loss,
        probe_forgetting=None if probe is None else probe.forgetting,
        test_metrics=measured.test_metrics,
        test_objective=measured.test_objective,
    )


def extended(trial: Trial, segment: Segment, measured: Measured) -> Trial:
    """Return a trial with one segment more."""
    return Trial(
        id=trial.id,
        seed=trial.seed,
        segments=(*trial.segments, segment),
        outcome=measured.outcome,
        reason=measured.reason,
        value=segment.objective if measured.outcome in ENDED else None,
    )


def improvement(facts: RunFacts, segment: Segment, outcome: Outcome | None) -> float | None:
    """Return (base objective − constrained objective)/scale; None where it wasn't measured.

    The base model is measured on the same set, which is another one at a trial's end.
    """
    if segment.objective is None:
        return None
    base = facts.base_objective if outcome in ENDED else facts.base_objective_subset
    return (base - facts.constrained(segment.objective, segment.metrics)) / facts.objective_scale


def judged(facts: RunFacts, segment: Segment) -> float | None:
    """Return what a trial's points are compared by; None where it wasn't measured."""
    if segment.objective is None:
        return facts.probed(segment)
    return facts.constrained(segment.objective, segment.metrics)
