"""The end of a study on the terminal: who won, by how much, at what cost, and what to paste."""

from hpopt_envs.records import RunFacts

from .confirmation import Confirmation, Judged
from .result import StudyResult
from .settings import Settings, resume_command
from .wording import counted, describe, duration, without_password


def report(result: StudyResult, settings: Settings) -> str:
    """Return the report's text."""
    lines = ["", *_winner(result)]
    if result.confirmation is not None:
        lines += ["", *_confirmation(result.facts, result.confirmation, settings)]
    if result.best is not None:
        lines += ["", "Schedule to paste (in fractions of the run):", *_schedule(result)]
    return "\n".join([*lines, "", _cost(result), *_record(result, settings)])


def _winner(result: StudyResult) -> list[str]:
    facts, best = result.facts, result.best
    if best is None:
        reasons = sorted({trial.reason for trial in result.trials if trial.reason})
        why = f" ({'; '.join(reasons[:3])})" if reasons else ""
        return [f"No trial ended with a value{why}."]
    found = result.history.improvements[-1]
    return [
        f"Winner: trial {best.id} with {_value(facts, best.value)} on validation "
        f"(base model {_value(facts, facts.base_objective)}), "
        f"found after {found.training_tokens:,} training tokens.",
    ]


def _value(facts: RunFacts, objective: float | None) -> str:
    return "–" if objective is None else f"{facts.shown(objective):.4f}"


def _confirmation(facts: RunFacts, confirmation: Confirmation, settings: Settings) -> list[str]:
    other = _other(settings)
    columns = {"winner": confirmation.winner, other: confirmation.default}
    if confirmation.default_won:
        columns = {f"{other} (the winner)": confirmation.default}
    seeds = counted(settings.confirm_seeds, "fresh seed")
    spread = ", mean ± standard deviation" if settings.confirm_seeds > 1 else ""
    rows = [("objective", [_spread(facts, judged) for judged in columns.values()])]
    for name in facts.base_metrics:
        means = [judged.metric(name) for judged in columns.values()]
        if any(mean is not None for mean in means):
            rows.append((name, ["–" if mean is None else f"{mean:.4f}" for mean in means]))
    table = [(("", list(columns))), *rows]
    failures = [reason for judged in columns.values() for reason in judged.failures]
    return [
        f"On the test split, {seeds}{spread}:",
        *(f"  {name:<16s}{''.join(f'{c:<24s}' for c in cells)}".rstrip() for name, cells in table),
        *(f"  a trial failed: {reason}" for reason in failures),
        _verdict(confirmation, other),
    ]


def _other(settings: Settings) -> str:
    """What the winner is compared with."""
    return "baseline" if settings.baseline else "default"


def _verdict(confirmation: Confirmation, other: str) -> str:
    if confirmation.default_won:
        return f"The {other} configuration won the search: it was run once, not twice."
    winner, default = confirmation.winner, confirmation.default
    if winner.mean is None or default.mean is None:
        failed = "winner" if winner.mean is None else other
        return f"Winner and {other} can't be compared: no trial of the {failed} has a value."
    gain = default.mean - winner.mean
    if gain <= 0:
        return f"The winner is no better than the {other} on fresh seeds: {abs(gain):.4f} worse."
    if winner.spread is None or default.spread is None:
        return f"The winner is better than the {other} by {gain:.4f}; one seed can't tell noise."
    if gain > 2 * max(winner.spread, default.spread):
        return f"The winner is better than the {other} by {gain:.4f}, more than twice the spread."
    return f"The winner is better than the {other} by {gain:.4f}, which may be noise."


def _spread(facts: RunFacts, judged: Judged) -> str:
    text = _value(facts, judged.mean)
    return text if judged.spread is None else f"{text} ± {judged.spread:.4f}"


def _schedule(result: StudyResult) -> list[str]:
    """A line for each stretch of equal hyperparameters."""
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


def _cost(result: StudyResult) -> str:
    history, facts = result.history, result.facts
    flops = 6.0 * facts.total_parameters * history.cost
    confirmed = history.cost - history.search_cost
    confirmation = f", and {confirmed:,.0f} for the confirmation" if confirmed else ""
    return (
        f"Cost: {history.cost:,.0f} token-equivalents ({flops:.2g} FLOPs): "
        f"{counted(len(result.trials), 'trial')} with {history.training_tokens:,} training tokens"
        f"{confirmation}; {duration(result.wall_seconds)}."
    )


def _record(result: StudyResult, settings: Settings) -> list[str]:
    names = ("journal.jsonl", "schedule.json", "result.json", "best/")
    there = ", ".join(name for name in names if (result.folder / name).exists())
    command = "python -m hpopt ui"
    if settings.tracking_uri:
        command += f" --tracking-uri {without_password(settings.uri)}"
    elif settings.runs != "runs":
        command += f" --runs {settings.runs}"
    lines = [
        f"Record: {result.folder}/ ({there}), MLflow {without_password(settings.uri)}",
        f"Look at it: {command}",
    ]
    if result.tracking_error:
        lines.append(
            f"MLflow is incomplete: {result.tracking_error}; "
            f"`{resume_command(result.name, settings.runs)}` writes what is missing"
        )
    return lines
