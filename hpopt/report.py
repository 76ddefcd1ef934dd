"""The end of a study on the terminal: who won, by how much, at what cost, and what to paste."""

from hpopt_envs.records import RunFacts

from .confirmation import Confirmation, Judged
from .result import StudyResult
from .settings import Settings
from .wording import describe


def report(result: StudyResult, settings: Settings) -> str:
    """Return the report's text."""
    facts, history, best = result.facts, result.history, result.best
    if best is None:
        reasons = sorted({trial.reason for trial in result.trials if trial.reason})
        why = f" ({'; '.join(reasons[:3])})" if reasons else ""
        return "\n".join(["", f"No trial ended with a value{why}.", *_record(result, settings)])
    found = history.improvements[-1]
    lines = [
        "",
        f"Winner: trial {best.id} with {_value(facts, best.value)} on validation "
        f"(base model {_value(facts, facts.base_objective)}), "
        f"found after {found.training_tokens:,} training tokens.",
    ]
    if result.confirmation is not None:
        lines += ["", *_confirmation(facts, result.confirmation, settings)]
    lines += ["", "Schedule to paste (fractions of the run):", *_schedule(result), ""]
    lines += _cost(result)
    return "\n".join(lines + _record(result, settings))


def _value(facts: RunFacts, objective: float | None) -> str:
    return "–" if objective is None else f"{facts.shown(objective):.4f}"


def _confirmation(facts: RunFacts, confirmation: Confirmation, settings: Settings) -> list[str]:
    other = "baseline" if settings.baseline else "default"
    heads = [f"{other} (the winner)"] if confirmation.default_won else ["winner", other]
    columns = (
        [confirmation.winner]
        if confirmation.default_won
        else [
            confirmation.winner,
            confirmation.default,
        ]
    )
    seeds = f"{settings.confirm_seeds} fresh seed{'s' if settings.confirm_seeds > 1 else ''}"
    rows = [("objective", [_spread(facts, judged) for judged in columns])]
    names = [
        name for name in facts.base_metrics if any(j.metric(name) is not None for j in columns)
    ]
    for name in names:
        rows.append((name, [f"{judged.metric(name) or 0.0:.4f}" for judged in columns]))
    table = [f"  {'':<16s}" + "".join(f"{head:<24s}" for head in heads)]
    table += [f"  {name:<16s}" + "".join(f"{cell:<24s}" for cell in cells) for name, cells in rows]
    failures = [reason for judged in columns for reason in judged.failures]
    table += [f"  a trial failed: {reason}" for reason in failures]
    return [
        f"On the test split, {seeds}, mean ± standard deviation:",
        *table,
        _verdict(confirmation, other),
    ]


def _verdict(confirmation: Confirmation, other: str) -> str:
    if confirmation.default_won:
        return f"The {other} configuration won the search: it was run once, not twice."
    winner, default = confirmation.winner, confirmation.default
    if winner.mean is None or default.mean is None:
        return "Winner and default can't be compared: all trials of one of them failed."
    gain = default.mean - winner.mean
    noise = max(winner.spread or 0.0, default.spread or 0.0)
    if gain > 2 * noise:
        return f"The winner is better than the {other} by {gain:.4f}, more than twice the spread."
    if gain > 0:
        return f"The winner is better than the {other} by {gain:.4f}, which may be noise."
    return f"The winner is no better than the {other} on fresh seeds: {-gain:.4f} worse."


def _spread(facts: RunFacts, judged: Judged) -> str:
    text = _value(facts, judged.mean)
    return text if judged.spread is None else f"{text} ± {judged.spread:.4f}"


def _schedule(result: StudyResult) -> list[str]:
    assert result.best is not None
    path = result.best.path
    trained = path[-1].training_tokens
    lines, begin = [], 0
    for segment, after in zip(path, [*path[1:], None], strict=True):
        if after is not None and after.hyperparameters == segment.hyperparameters:
            continue
        until = segment.training_tokens
        span = f"{begin / trained:.0%}–{until / trained:.0%}"
        lines.append(f"  {span:<10s} {describe(segment.hyperparameters)}")
        begin = until
    return lines


def _cost(result: StudyResult) -> list[str]:
    history, facts = result.history, result.facts
    confirmed = history.cost - history.search_cost
    flops = 6.0 * facts.total_parameters * history.cost
    return [
        f"Cost: {history.cost:,.0f} token-equivalents ({flops:.2g} FLOPs): "
        f"{len(result.trials)} trials with {history.training_tokens:,} training tokens, "
        f"and {confirmed:,.0f} for the confirmation; {result.wall_seconds:,.0f} s.",
    ]


def _record(result: StudyResult, settings: Settings) -> list[str]:
    lines = [
        f"Record: {result.folder}/ (journal.jsonl, schedule.json, result.json, best/), "
        f"MLflow {settings.uri}",
        "Look at it: python -m hpopt ui"
        + (f" --tracking-uri {settings.uri}" if settings.tracking_uri else ""),
    ]
    if result.tracking_error:
        lines.append(
            f"MLflow is incomplete: {result.tracking_error}; "
            f"`python -m hpopt resume {result.name}` writes what is missing"
        )
    return lines
