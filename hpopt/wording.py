"""How values are worded wherever a person reads them."""

import textwrap
from collections.abc import Mapping, Sequence

from hpopt_envs.records import Control, RunFacts, Segment, Trial
from hpopt_search_spaces import Value


def describe(values: Mapping[str, Value]) -> str:
    """Return hyperparameters in one line, numbers at four significant digits."""
    shown = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.values())
    return ", ".join(f"{name}={value}" for name, value in zip(values, shown, strict=True))


def describe_path(path: Sequence[Segment], names: Sequence[str]) -> str:
    """Return hyperparameters of a path in one line; "low…high" for a number that changes."""
    shown: dict[str, Value] = {}
    for name in names:
        values = [s.hyperparameters[name] for s in path if name in s.hyperparameters]
        if not values:
            continue
        if isinstance(values[0], str) or len(set(values)) == 1:
            shown[name] = values[-1]
        else:
            low, high = min(map(float, values)), max(map(float, values))
            shown[name] = f"{low:.4g}…{high:.4g}"
    return describe(shown)


def detours(trials: Sequence[Trial]) -> str:
    """Return what was spent on probes and on work that was rolled back, in a sentence; or ""."""
    segments = [segment for trial in trials for segment in trial.segments]
    probes = sum(segment.probe_loss is not None for segment in segments)
    if not probes:
        return ""
    returns = sum(segment.control is Control.ROLL_BACK for segment in segments)
    trained = sum(segment.tokens for segment in segments)
    kept = sum(trial.path[-1].training_tokens for trial in trials if trial.segments)
    return (
        f"Inside trials, losses were probed {counted(probes, 'time')} and training rolled back "
        f"{counted(returns, 'time')} ({trained - kept:,} training tokens); all of it is charged."
    )


def why_nothing(trials: Sequence[Trial]) -> str:
    """Return how trials without a value that counts ended, such as "2 exploded (...)"; or ""."""
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        how = "still running" if trial.outcome is None else trial.outcome.value.replace("_", " ")
        if trial.pruned:
            how = "pruned"
        reasons.setdefault(how, []).append(trial.reason)
    told = []
    for how, those in reasons.items():
        first = next(filter(None, those), "")
        told.append(f"{len(those):,} {how}" + (f" ({first})" if first else ""))
    return ", ".join(told)


def counted(number: int, what: str) -> str:
    """Return "1 trial", "2 trials"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return "45 s", "3 min 20 s" or "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def objective(facts: RunFacts) -> str:
    """Return what trials are judged by, such as "loss + 0.5 × forgetting"."""
    if not facts.forgetting_weight or not facts.has_reference:
        return facts.objective_name
    sign = "−" if facts.maximize else "+"
    return f"{facts.objective_name} {sign} {facts.forgetting_weight:g} × forgetting"


def limit(facts: RunFacts) -> str:
    """Return what goes behind the objective, ", subject to …"; nothing where there is no limit."""
    if facts.max_divergence is None:
        return ""
    own = facts.max_divergence == facts.default_max_divergence
    told = " (the task's default)" if own else ""
    return f", subject to divergence ≤ {facts.max_divergence:g} nats{told}"


def unlimited(facts: RunFacts) -> str:
    """Return a warning where a task's own limit on divergence was switched off; or ""."""
    if facts.max_divergence is not None or facts.default_max_divergence is None:
        return ""
    return (
        "There is no limit on divergence: the model that is held least to the base model tends to "
        f"win. The task's own limit is {facts.default_max_divergence:g} nats."
    )


def what_failed(error: Exception) -> str:
    """Return what an exception says, cut to a line."""
    return textwrap.shorten(str(error) or type(error).__name__, 300)
