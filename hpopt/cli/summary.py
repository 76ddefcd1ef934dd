"""The end of a study on the terminal: what is recommended, why, at what cost, and what to paste."""

import hashlib
from statistics import mean

from rich.cells import cell_len, set_cell_size

from hpopt_envs.records import RunFacts, Trial

from ..commands import resume_command, without_password
from ..record.final import Final
from ..record.folders import StudyFolder
from ..record.judged import Judged
from ..record.recommended import HIGHER
from ..record.samples import NOTHING, Samples, read_samples
from ..report.advice import advice
from ..report.words import UNTESTED, columns, exceeded, test_verdict
from ..settings.study import Settings
from ..study.result import StudyResult
from ..tracking.words import incomplete, look_at_it
from ..wording import counted, describe, detours, duration, why_nothing


def report(result: StudyResult, settings: Settings) -> str:
    """Return the report's text."""
    lines = ["", *_winner(result, settings)]
    if result.final is not None:
        lines += ["", *_final(result.final)]
        lines += [UNTESTED] if result.facts.external else ["", *_tested(result.final)]
    samples = None if result.best is None else read_samples(StudyFolder(result.folder))
    if samples is not None:
        lines += ["", *sample_lines(samples)]
    if result.recommendation is not None:
        lines += ["", f"Recommended: {result.recommendation.name}. {result.why}"]
        lines += _to_paste(result)
    spent = [_cost(result), *filter(None, [detours(result.trials)])]
    return "\n".join([*lines, "", *spent, *advice(result.history), *_record(result, settings)])


def _winner(result: StudyResult, settings: Settings) -> list[str]:
    facts, best = result.facts, result.best
    if best is None:
        over = [
            t for t in result.trials if t.can_win and not facts.feasible(t.segments[-1].metrics)
        ]
        if over:
            return [_nearest(facts, over)]
        if not result.trials:
            limit = settings.budget.time_limit
            short = "" if limit is None else f": a time limit of {limit:g} s is too short for one"
            return [f"No trial was run{short}."]
        return [f"No trial ended with a value: {why_nothing(result.trials)}."]
    found = result.history.improvements[-1]
    limited = "" if facts.max_divergence is None else f" and divergence {_divergence(best):.4f}"
    assert best.value is not None
    if facts.external:
        return [f"Winner: trial {best.id} with {_value(facts, best.value)} on validation."]
    no_gain = ["It is no better than the base model."] if best.value >= facts.base_objective else []
    return [
        f"Winner: trial {best.id} with {_value(facts, best.value)}{limited} on validation "
        f"(base model {_value(facts, facts.base_objective)}), "
        f"found after {found.training_tokens:,} training tokens.",
        *no_gain,
    ]


def _nearest(facts: RunFacts, over: list[Trial]) -> str:
    """Return what is said where every trial that ended is over the limit on divergence."""
    trial = min(over, key=_divergence)
    return (
        f"No trial kept the limit on divergence, {facts.max_divergence:g} nats: trial "
        f"{trial.id} came nearest, with {_divergence(trial):.4f} and a value of "
        f"{_value(facts, trial.value)} on validation{HIGHER}."
    )


def _divergence(trial: Trial) -> float:
    """Return where a trial ended, on validation."""
    return trial.segments[-1].metrics["divergence"]


def _value(facts: RunFacts, objective: float | None) -> str:
    return "–" if objective is None else f"{facts.shown(objective):.4f}"


def _final(final: Final) -> list[str]:
    """Return the final as a table: each entrant's values on validation."""
    facts, width = final.history.facts, max(len(one.name) for one in final.entrants)
    lines = ["The final, on validation:"]
    for one in final.entrants:
        runs = final.runs[one.name]
        values = [facts.shown(run.value) for run in runs if run.value is not None]
        told = f"{mean(values):.4f}  ({counted(len(values), 'fresh seed')})" if values else "–"
        failed = [f"; failed: {run.reason}" for run in runs if run.value is None][:1]
        lines.append(f"  {one.name:<{width}s}  {told}{''.join(failed)}")
    return lines


def _tested(final: Final) -> list[str]:
    """Return what is shown of the test split, by which nothing was chosen."""
    facts = final.history.facts
    shown = {heading: final.tested(name) for heading, name in columns(final).items()}
    most = max(len(judged.values) + len(judged.failures) for judged in shown.values())
    spread = ", mean ± standard deviation" if most > 1 else ""
    rows = [("objective", [_spread(facts, judged) for judged in shown.values()])]
    for name in facts.base_metrics:
        means = [judged.metric(name) for judged in shown.values()]
        if any(value is not None for value in means):
            rows.append((name, [_mean(facts, name, value) for value in means]))
    rows = [(fitting(name, LONGEST_NAME), cells) for name, cells in rows]
    table = [("", list(shown)), *rows]
    names = max(16, 2 + max(cell_len(name) for name, _ in rows))
    width = max(24, 2 + max(len(cell) for _, cells in table for cell in cells))
    failures = [reason for judged in shown.values() for reason in judged.failures]
    return [
        f"On the test split, by which nothing was chosen, {counted(most, 'fresh seed')}{spread}:",
        *(
            f"  {set_cell_size(name, names)}{''.join(cell.ljust(width) for cell in cells)}".rstrip()
            for name, cells in table
        ),
        *(f"  a trial failed: {reason}" for reason in failures),
        *exceeded(facts, shown),
        *filter(None, [test_verdict(final)]),
    ]


def _mean(facts: RunFacts, name: str, value: float | None) -> str:
    """Return a metric's mean over seeds; a divergence, beside its limit."""
    if value is None:
        return "–"
    if name != "divergence" or facts.max_divergence is None:
        return f"{value:.4f}"
    over = "" if facts.feasible({name: value}) else "over "
    return f"{value:.4f} ({over}limit {facts.max_divergence:g})"


def _spread(facts: RunFacts, judged: Judged) -> str:
    text = _value(facts, judged.mean)
    return text if judged.spread is None else f"{text} ± {judged.spread:.4f}"


def _to_paste(result: StudyResult) -> list[str]:
    """Return what to train with from now on."""
    if result.facts.external:
        assert result.recommendation is not None
        return ["Command to paste:", f"  {result.recommendation.command}"]
    return ["Schedule to paste (in fractions of the run):", *_schedule(result)]


def _schedule(result: StudyResult) -> list[str]:
    """Return a line for each stretch of equal hyperparameters."""
    assert result.recommended is not None
    parts = result.recommended.spans
    width = max(10, *(len(span) for span, _ in parts))
    return [f"  {span:<{width}s} {describe(values)}" for span, values in parts]


def _cost(result: StudyResult) -> str:
    history, facts = result.history, result.facts
    flops, trained = "", ""
    if not facts.external:
        flops = f" ({6.0 * facts.total_parameters * history.cost:.2g} FLOPs)"
        trained = f" with {history.training_tokens:,} training tokens"
    judged = history.cost - history.search_cost
    final = f", and {judged:,.0f} for the final" if judged else ""
    return (
        f"Cost: {history.cost:,.0f} {history.cost_unit}{flops}: "
        f"{counted(len(result.trials), 'trial')}{trained}{final}; {duration(result.wall_seconds)}."
    )


def _record(result: StudyResult, settings: Settings) -> list[str]:
    folder = StudyFolder(result.folder)
    files = (
        *(folder.journal, folder.report, folder.schedule, folder.result),
        *(folder.best, folder.trials),
    )
    names = (f"{file.name}/" if file.is_dir() else file.name for file in files if file.exists())
    there = ", ".join(names)
    lines = [
        f"Record: {result.folder}/ ({there}), MLflow {without_password(settings.tracking.uri)}",
        *look_at_it(settings.tracking, dict(zip(("study", "chart"), result.pages, strict=False))),
    ]
    if any(folder.snapshots.glob("*")):
        again = resume_command(result.name, settings.tracking.runs)
        lines.append(
            f"{folder.snapshots}/ is kept for the recommended weights, which couldn't be "
            f"written; `{again}` tries again"
        )
    if result.report_error:
        lines.append(f"There is no report.html: {result.report_error}")
    lines += incomplete(result.tracking_error, result.name, settings.tracking.runs)
    return lines


LONGEST_NAME = 40  # columns of a metric's name in a table
SHOWN = 2  # samples on a terminal
WIDTH = 80  # characters of a text there


def sample_lines(samples: Samples) -> list[str]:
    """Return the first samples for a terminal, each text cut to a line."""
    shown = samples.rows[:SHOWN]
    lines = [f"What the model writes, for {len(shown)} of {len(samples.rows)} prompts:"]
    for row in shown:
        lines += [
            f"  prompt          {_line(row.prompt)}",
            f"    base model    {_line(row.before)}{_scored(samples.score, row.score_before)}",
            f"    recommended   {_line(row.after)}{_scored(samples.score, row.score_after)}",
        ]
        if row.reference is not None:
            lines.append(f"    reference     {_line(row.reference)}")
    return lines


def _line(text: str) -> str:
    """Return a text in one line: at most `WIDTH` characters, none of which moves the cursor."""
    words = " ".join(text.split())
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)
    return (plain if len(plain) <= WIDTH else plain[: WIDTH - 1] + "…") or NOTHING


def _scored(score: str, value: float | None) -> str:
    return "" if value is None else f"  ({_line(score)} {value:.4g})"


def fitting(name: str, columns: int) -> str:
    """Return a name in one line of so many columns; a hash keeps those apart that are cut."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    if plain == name and cell_len(name) <= columns:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{set_cell_size(plain, min(columns - 7, cell_len(plain))).rstrip()}…{digest}"
