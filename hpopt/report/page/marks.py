"""How a trial is marked in every figure: by how it ended, with what is told of it."""

import math
from html import escape
from typing import Any

from hpopt_envs.records import Outcome, RunFacts, Trial

from ...wording import describe
from . import look

OVER, PRUNED = "over the limit on divergence", "stopped by the pruner"
LOOKS: dict[str, dict[str, Any]] = {  # of trials, by how they ended
    "trial": {"symbol": "circle", "color": look.BLUE},
    OVER: {"symbol": "triangle-up", "color": look.ORANGE},
    PRUNED: {"symbol": "circle-open", "color": look.MUTED},
    "exploded": {"symbol": "x-thin-open", "color": look.RED},
    "out of memory": {"symbol": "square-x-open", "color": look.PINK},
    "failed": {"symbol": "diamond-open", "color": look.INK},
}


def kind(facts: RunFacts, trial: Trial) -> str:
    """Return one of `LOOKS`."""
    match trial.outcome:
        case Outcome.EXPLODED:
            return "exploded"
        case Outcome.OUT_OF_MEMORY:
            return "out of memory"
        case Outcome.FAILED:
            return "failed"
    if not trial.can_win:
        return PRUNED
    feasible = facts.feasible(trial.segments[-1].metrics)
    return "trial" if feasible else OVER


def height(facts: RunFacts, trial: Trial) -> float | None:
    """Return the objective at a trial's end, of a pruned one between segments; None without one."""
    if trial.outcome not in (Outcome.COMPLETED, Outcome.STOPPED):
        return None
    value = trial.value if trial.can_win else trial.segments[-1].objective
    return None if value is None or not math.isfinite(value) else facts.shown(value)


def about(facts: RunFacts, trial: Trial) -> str:
    """Return what is shown where a pointer rests on a trial, as HTML."""
    value = height(facts, trial)
    lines = [f"trial {trial.id}: {kind(facts, trial) if value is None else look.number(value)}"]
    if trial.reason:
        lines.append(trial.reason)
    lines += describe(trial.path[0].hyperparameters).split(", ")
    return "<br>".join(escape(line[:100]) for line in lines)
