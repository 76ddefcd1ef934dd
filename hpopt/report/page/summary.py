"""A study in plain words: what was tuned, what won, by how much, at what cost, what mattered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hpopt_envs.records import Outcome, RunFacts
from hpopt_search_spaces import Value

from ...record.history import History
from ...record.judged import Confirmation, Judged
from ...record.schedule import Schedule
from ...wording import counted, detours, duration, limit, objective, unlimited
from ..words import exceeded, verdict
from . import look
from .importance import ENOUGH_TRIALS, Importances
from .marks import kind
from .page import paragraphs, table
from .tried import ended, resolved_space

MANY_BROKEN = 0.3  # share of the trials from which a search is said to have lost much to explosions


def summary(
    history: History, result: Mapping[str, Any] | None, importances: Importances | str
) -> str:
    """Return the summary as HTML.

    Args:
        history: of the study.
        result: its result.json; None where it has none yet.
        importances: of its hyperparameters, or why there are none.
    """
    confirmation = None if result is None else confirmation_of(history.facts, result)
    parts = [
        paragraphs(_warnings(history, result, confirmation), kind="warning"),
        paragraphs([_tuned(history), _found(history), _spent(history), _mattered(importances)]),
    ]
    if confirmation is not None:
        parts += [_judged(history, confirmation)]
    if history.best is not None:
        parts += ["<h3>The winner's schedule</h3>", _schedule(history)]
    return "\n".join(parts)


def confirmation_of(facts: RunFacts, result: Mapping[str, Any]) -> Confirmation | None:
    """Return the confirmation that a result.json tells of; None where it was skipped."""
    test = result.get("test")
    if test is None:
        return None

    def judged(of: Mapping[str, Any]) -> Judged:
        values = tuple(facts.shown(value) for value in of["values"])  # back to minimised
        return Judged(values, tuple(of["metrics"]), tuple(of["failures"]))

    return Confirmation(judged(test["winner"]), judged(test["default"]), test["default_won"])


def _tuned(history: History) -> str:
    header, facts = history.header, history.facts
    space = resolved_space(history)
    names = ", ".join(name.replace("_", " ") for name in space.names)
    direction = "highest" if facts.maximize else "lowest"
    return (
        f"The searcher {header['agent']}{_pruner(header)} tuned {names} of {facts.model} on "
        f"{facts.task} for the {direction} {objective(facts)}{limit(facts)}, in trials of "
        f"{facts.trial_tokens:,} training tokens (seed {header['seed']})."
    )


def _pruner(header: Mapping[str, Any]) -> str:
    return "" if header["pruner"] == "none" else f" with the pruner {header['pruner']}"


def _found(history: History) -> str:
    facts, best = history.facts, history.best
    base = f"the base model has {look.number(facts.shown(facts.base_objective))}"
    if best is None or best.value is None:
        return f"No trial ended with a value that could win; {base}."
    found = history.improvements[-1]
    divergence = best.segments[-1].metrics.get("divergence")
    at = "" if divergence is None else f" at a divergence of {look.number(divergence)} nats"
    unit = f" {facts.unit}" if facts.unit else ""
    return (
        f"The winner, trial {best.id}, came to {look.number(facts.shown(best.value))}{unit}{at} "
        f"on validation ({base}), found after {found.training_tokens:,} training tokens of "
        f"{history.training_tokens:,}."
    )


def _spent(history: History) -> str:
    facts, trials = history.facts, ended(history)
    kinds = Counter(kind(facts, trial) for trial in trials)
    others = [f"{count} {what}" for what, count in kinds.items() if what != "trial"]
    confirmed = history.cost - history.search_cost
    confirmation = f", {look.number(confirmed)} of them for the confirmation" if confirmed else ""
    seconds = sum(s.wall_seconds for t in history.trials.values() for s in t.segments)
    flops = 6.0 * facts.total_parameters * history.cost
    return (
        f"{counted(len(trials), 'trial')} ended{_among(others)}. The study cost "
        f"{look.number(history.cost)} token-equivalents{confirmation} (about {flops:.2g} FLOPs), "
        f"{duration(seconds)} of its workers' time. {detours(trials)}"
    ).rstrip()


def _among(parts: Sequence[str]) -> str:
    return f", among them {', '.join(parts)}" if parts else ""


def _mattered(importances: Importances | str) -> str:
    if isinstance(importances, str):
        return f"Which hyperparameter mattered most isn't told: {importances}."
    ranked = [_share(importances.ped_anova, name) for name in importances.names[:3]]
    first = next(iter(importances.fanova), None)
    explained = (
        ""
        if first is None
        else (
            f" Over all trials, {_share(importances.fanova, first)} explains most of the variance "
            "(fANOVA)."
        )
    )
    told = [
        f"What set the best tenth of the trials apart (PED-ANOVA): {', '.join(ranked)}.{explained}"
    ]
    if importances.trials < ENOUGH_TRIALS:
        told.append(
            f"That rests on {importances.trials} trials, where {ENOUGH_TRIALS} would be safe: "
            "take it as a hint."
        )
    return " ".join(told)


def _share(shares: Mapping[str, float], name: str) -> str:
    return f"{name.replace('_', ' ')} ({shares[name]:.0%})"


def _warnings(
    history: History, result: Mapping[str, Any] | None, confirmation: Confirmation | None
) -> list[str]:
    facts, best, trials = history.facts, history.best, ended(history)
    told = []
    if result is None:
        told.append("This study has no result yet: it is running, or was cut off.")
    told += filter(None, [unlimited(facts)])
    if best is None and facts.max_divergence is not None and any(t.can_win for t in trials):
        told.append(f"No trial kept the limit on divergence, {facts.max_divergence:g} nats.")
    if best is not None and best.value is not None and best.value >= facts.base_objective:
        told.append("The winner is no better than the base model on validation.")
    if confirmation is not None:
        told += exceeded(facts, {"winner": confirmation.winner})
        gained = _gain(confirmation)
        if not confirmation.default_won and gained is not None and gained <= 0:
            told.append("The winner is no better than the default configuration on fresh seeds.")
    broken = sum(t.outcome not in (Outcome.COMPLETED, Outcome.STOPPED) for t in trials)
    if trials and broken > MANY_BROKEN * len(trials):
        told.append(f"{broken} of {counted(len(trials), 'trial')} exploded or failed.")
    return told + _at_the_edge(history)


def _gain(confirmation: Confirmation) -> float | None:
    winner, default = confirmation.winner.mean, confirmation.default.mean
    return None if winner is None or default is None else default - winner


def _at_the_edge(history: History) -> list[str]:
    """Return a warning where the winner ends a range: better values may lie beyond it."""
    if history.best is None:
        return []
    space = resolved_space(history)
    edges = []
    for name in ("learning_rate", "batch_size"):
        values = {s.hyperparameters.get(name) for s in history.best.path}
        if name in space and len(values) == 1:
            (value,) = values
            ends = {space[name].from_unit(0.0): "lowest", space[name].from_unit(1.0): "highest"}
            if value in ends:
                edges.append(f"the {ends[value]} {name.replace('_', ' ')} ({value:g})")
    return [f"The winner has {' and '.join(edges)} of the search space."] if edges else []


def _judged(history: History, confirmation: Confirmation) -> str:
    """Return the confirmation as a table, with its verdict."""
    facts = history.facts
    other = "baseline" if history.settings.get("baseline") else "default"
    columns = {"winner": confirmation.winner, other: confirmation.default}
    if confirmation.default_won:
        columns = {f"{other} (the winner)": confirmation.default}
    rows = [["objective", *(_spread(facts, judged) for judged in columns.values())]]
    for name in facts.base_metrics:
        means = [judged.metric(name) for judged in columns.values()]
        if any(mean is not None for mean in means):
            rows.append([name, *map(look.number, means)])
    seeds = max(len(judged.values) + len(judged.failures) for judged in columns.values())
    failed = [reason for judged in columns.values() for reason in judged.failures]
    return "\n".join(
        [
            f"<h3>On the test split, {counted(seeds, 'fresh seed')}</h3>",
            table(["", *columns], rows),
            paragraphs([verdict(confirmation, other), *(f"A trial failed: {r}" for r in failed)]),
        ]
    )


def _spread(facts: RunFacts, judged: Judged) -> str:
    if judged.mean is None:
        return "–"
    mean = look.number(facts.shown(judged.mean))
    return mean if judged.spread is None else f"{mean} ± {judged.spread:.2g}"


def _schedule(history: History) -> str:
    """Return the winner's path as a table, a row for each stretch of equal hyperparameters."""
    assert history.best is not None
    spans = Schedule.of(history.best).spans
    names = list(dict.fromkeys(name for _, values in spans for name in values))
    rows = [[span, *(_cell(values.get(name)) for name in names)] for span, values in spans]
    return table(["of the run", *(name.replace("_", " ") for name in names)], rows)


def _cell(value: Value | None) -> str:
    return "–" if value is None else look.number(value) if isinstance(value, float) else str(value)
