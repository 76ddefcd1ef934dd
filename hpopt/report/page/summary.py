"""A study in plain words: what was tuned, what won, by how much, at what cost, what mattered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hpopt_envs.records import Outcome, RunFacts
from hpopt_search_spaces import Value

from ...record.final import Final
from ...record.history import History
from ...record.judged import Judged
from ...record.recommended import Recommended
from ...record.schedule import Schedule
from ...wording import counted, detours, duration, limit, objective, unlimited
from ..advice import advice
from ..words import UNTESTED, columns, exceeded, test_verdict
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
    over = result is not None and history.best is not None
    recommended = Recommended.of(history, "summary") if over else None
    final = None if recommended is None else recommended.final
    parts = [
        paragraphs(_warnings(history, result, final), kind="warning"),
        paragraphs([_tuned(history), _found(history), _spent(history), _mattered(importances)]),
    ]
    if recommended is not None:
        parts += [
            "<h3>Recommended</h3>",
            paragraphs([recommended.why, *advice(history)]),
            _schedule(recommended.schedule),
        ]
        if recommended.command is not None:
            parts += [paragraphs([f"Command to paste: {recommended.command}"])]
    elif history.best is not None:
        parts += ["<h3>The best so far</h3>", _schedule(Schedule.of(history.best, history.facts))]
    if final is not None:
        tested = paragraphs([UNTESTED]) if history.facts.external else _tested(final)
        parts += [_validated(final), tested]
    return "\n".join(parts)


def _tuned(history: History) -> str:
    header, facts = history.header, history.facts
    space = resolved_space(history)
    names = ", ".join(name.replace("_", " ") for name in space.names)
    direction = "highest" if facts.maximize else "lowest"
    who = f"The searcher {header['agent']}{_pruner(header)} tuned {names} of"
    if facts.external:
        return (
            f"{who} the command `{facts.model}` for the {direction} {objective(facts)} "
            f"(seed {header['seed']})."
        )
    return (
        f"{who} {facts.model} on {facts.task} for the {direction} {objective(facts)}"
        f"{limit(facts)}, in trials of {facts.trial_tokens:,} training tokens (seed "
        f"{header['seed']})."
    )


def _pruner(header: Mapping[str, Any]) -> str:
    return "" if header["pruner"] == "none" else f" with the pruner {header['pruner']}"


def _found(history: History) -> str:
    facts, best = history.facts, history.best
    base = f"the base model has {look.number(facts.shown(facts.base_objective))}"
    if best is None or best.value is None:
        return "No trial ended with a value that could win" + (
            "." if facts.external else f"; {base}."
        )
    if facts.external:
        value = look.number(facts.shown(best.value))
        return f"The winner, trial {best.id}, came to {value} on validation."
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
    judged = history.cost - history.search_cost
    final = f", {look.number(judged)} of them for the final" if judged else ""
    seconds = sum(s.wall_seconds for t in history.trials.values() for s in t.segments)
    flops = f" (about {6.0 * facts.total_parameters * history.cost:.2g} FLOPs)"
    return (
        f"{counted(len(trials), 'trial')} ended{_among(others)}. The study cost "
        f"{look.number(history.cost)} {history.cost_unit}{final}{'' if facts.external else flops}, "
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


def _warnings(history: History, result: Mapping[str, Any] | None, final: Final | None) -> list[str]:
    facts, best, trials = history.facts, history.best, ended(history)
    told = []
    if result is None:
        told.append("This study has no result yet: it is running, or was cut off.")
    told += filter(None, [unlimited(facts)])
    if best is None and facts.max_divergence is not None and any(t.can_win for t in trials):
        told.append(f"No trial kept the limit on divergence, {facts.max_divergence:g} nats.")
    has_base = not facts.external
    if (
        has_base
        and best is not None
        and best.value is not None
        and best.value >= facts.base_objective
    ):
        told.append("The winner is no better than the base model on validation.")
    if final is not None:
        told += exceeded(facts, {"recommended": final.tested(final.recommended.name)})
    broken = sum(t.outcome not in (Outcome.COMPLETED, Outcome.STOPPED) for t in trials)
    if trials and broken > MANY_BROKEN * len(trials):
        told.append(f"{broken} of {counted(len(trials), 'trial')} exploded or failed.")
    return told


def _validated(final: Final) -> str:
    """Return the final as a table: what each entrant came to on validation."""
    facts, rows = final.history.facts, []
    for one in final.entrants:
        values = [run.value for run in final.runs[one.name] if run.value is not None]
        shown = [look.number(facts.shown(value)) for value in values]
        gain = final.difference(one.name, final.always[0])
        told = "–"
        if gain is not None and one.name != final.always[0]:
            told = f"{gain.mean:.4g} ± {gain.uncertainty:.2g}"
        rows.append([one.name, ", ".join(shown) or "failed", told])
    heads = ["", "on validation, by fresh seed", f"better than the {final.always[0]} by"]
    return "\n".join(["<h3>The final</h3>", table(heads, rows)])


def _tested(final: Final) -> str:
    """Return what is shown of the test split as a table, with its verdict."""
    facts = final.history.facts
    shown = {heading: final.tested(name) for heading, name in columns(final).items()}
    rows = [["objective", *(_spread(facts, judged) for judged in shown.values())]]
    for name in facts.base_metrics:
        means = [judged.metric(name) for judged in shown.values()]
        if any(mean is not None for mean in means):
            rows.append([name, *map(look.number, means)])
    seeds = max(len(judged.values) + len(judged.failures) for judged in shown.values())
    failed = [reason for judged in shown.values() for reason in judged.failures]
    told = [*filter(None, [test_verdict(final)]), *(f"A trial failed: {r}" for r in failed)]
    return "\n".join(
        [
            f"<h3>On the test split, {counted(seeds, 'fresh seed')}: nothing was chosen by it</h3>",
            table(["", *shown], rows),
            paragraphs(told),
        ]
    )


def _spread(facts: RunFacts, judged: Judged) -> str:
    if judged.mean is None:
        return "–"
    mean = look.number(facts.shown(judged.mean))
    return mean if judged.spread is None else f"{mean} ± {judged.spread:.2g}"


def _schedule(schedule: Schedule) -> str:
    """Return a schedule as a table, a row for each stretch of equal hyperparameters."""
    spans = schedule.spans
    names = list(dict.fromkeys(name for _, values in spans for name in values))
    rows = [[span, *(_cell(values.get(name)) for name in names)] for span, values in spans]
    return table(["of the run", *(name.replace("_", " ") for name in names)], rows)


def _cell(value: Value | None) -> str:
    return "–" if value is None else look.number(value) if isinstance(value, float) else str(value)
