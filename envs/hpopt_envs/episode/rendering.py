"""A trial as people read it: one line for where it stands."""

from collections.abc import Mapping

from hpopt_search_spaces import Value

from ..records import Control, RunFacts, Segment, Trial


def line(facts: RunFacts, trial: Trial, returned: float) -> str:
    """Return a line for a trial's last segment, or for the base model before the first.

    Args:
        facts: of the training run.
        trial: as it stands.
        returned: sum of its rewards.
    """
    if not trial.segments:
        base = facts.shown(facts.base_objective_subset)
        return f"trial {trial.id}: base model, objective {base:.4g} {facts.unit}".rstrip()
    segment = trial.segments[-1]
    parts = [
        f"segment {segment.id} ({trial.trained_tokens / facts.trial_tokens:.0%})",
        *([segment.control.name.lower().replace("_", " ")] if _asks(segment) else []),
        _listed(segment.hyperparameters, "="),
        f"training loss {segment.train_loss:.4g}",
        *([] if segment.probe_loss is None else [f"probe loss {segment.probe_loss:.4g}"]),
        *([_listed(segment.metrics, " ")] if segment.metrics else []),
        *([] if segment.objective is None else [f"objective {facts.shown(segment.objective):.4g}"]),
        f"return {returned:.4g}",
    ]
    if trial.outcome is not None:
        ended = trial.outcome.value.replace("_", " ")
        parts.append(f"{ended}: {trial.reason}" if trial.reason else ended)
    return "; ".join(parts)


def _asks(segment: Segment) -> bool:
    return segment.control is not Control.CONTINUE


def _listed(values: Mapping[str, Value], joint: str) -> str:
    """Return names and values, numbers in four figures."""
    return ", ".join(
        f"{name}{joint}{value:.4g}" if isinstance(value, float) else f"{name}{joint}{value}"
        for name, value in values.items()
    )
