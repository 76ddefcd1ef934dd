"""The report of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..record.history import History
from ..report.page import look
from ..report.page.files import shared_script
from ..report.page.page import Section, figures_of, page, paragraphs, table
from ..report.page.tried import ended
from ..wording import counted
from .figures import regret_curves, task_curves
from .outcome import Comparison
from .tables import displaced

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

Studies = Mapping[tuple[str, str, int], History]


def write_comparison_report(
    comparison: Comparison, verdict: Mapping[str, Any], studies: Studies, path: Path
) -> Path:
    """Write a comparison's report, a page of HTML that works offline; return its path.

    Args:
        comparison: what its studies came to.
        verdict: plain data, as in verdict.json (see `hpopt.verdict.tables.to_json`).
        studies: those that ended, by (task, searcher, seed).
        path: of the file to write, in the comparison's folder.
    """
    title = f"{comparison.name}: {', '.join(comparison.searchers)}"
    title += ", learning rates displaced" if comparison.displace else ""
    sections = [*_drawn(comparison), *_tables(comparison, verdict, studies)]
    text = page(title, _summary(comparison, verdict), sections, shared_script(path))
    path.write_text(text, encoding="utf-8")
    return path


def comparison_figures(comparison: Comparison) -> "dict[str, Figure]":
    """Return the figures of a comparison, by name."""
    return figures_of(_drawn(comparison))


def _summary(comparison: Comparison, verdict: Mapping[str, Any]) -> str:
    others = [row for row in verdict["rows"] if row["searcher"] != comparison.against]
    wanted = len(comparison.tasks) * len(comparison.searchers) * len(comparison.seeds)
    blocks = len(comparison.tasks) * len(comparison.seeds)
    asked = (
        f"{counted(len(comparison.searchers), 'searcher')} on "
        f"{counted(len(comparison.tasks), 'task')} ({', '.join(comparison.tasks)}) with "
        f"{counted(len(comparison.seeds), 'seed')} each: {counted(blocks, 'block')}. Every study "
        f"could spend {counted(comparison.equivalents, 'full-run equivalent')}, a full-run "
        "equivalent being the cost of one full trial of the default configuration. The searcher "
        f"to compare with, named beforehand, is {comparison.against}."
    )
    if comparison.displace:
        asked += f" {displaced(comparison.displace)}"
    missing = wanted - len(comparison.curves)
    told = [f"Missing, as not finished or failed: {missing} of {wanted} studies."]
    return "\n".join(
        [
            paragraphs([row["sentence"] for row in others], kind="verdict"),
            paragraphs(told if missing else [], kind="warning"),
            paragraphs([asked]),
        ]
    )


def _drawn(comparison: Comparison) -> list[Section]:
    return [
        Section(
            "regret",
            "Regret against cost",
            "The lower the better. Interquartile mean over tasks and seeds of the normalised "
            "regret of the best so far on validation; the bands are bootstrap 95% intervals over "
            "seeds, which describe and test nothing.",
            regret_curves(comparison),
        ),
        Section(
            "best_so_far",
            "Best so far on each task",
            "In the objective's own unit, mean over seeds; until a search has found better, the "
            "base model counts. The axes are for what was reached from one full-run equivalent on: "
            "double-click to see all.",
            task_curves(comparison),
        ),
    ]


def _tables(comparison: Comparison, verdict: Mapping[str, Any], studies: Studies) -> list[Section]:
    judged = _judged_rows(comparison)
    fresh = table(
        ["task", "searcher", "unit", "search saw", "on test", "noise", "optimism", "seeds"], judged
    )
    return [
        Section(
            "checkpoints",
            "Regret at checkpoints",
            "Normalised regret at a cost in full-run equivalents: interquartile mean [bootstrap "
            "95% interval]. Rank: average at the final cost, 1 the best. Better: probability of "
            f"improvement over {comparison.against}. p: sign-flip test against "
            f"{comparison.against} at the final cost, after Holm's correction."
            + (f" {displaced(comparison.displace)}" if comparison.displace else ""),
            html=_checkpoints(verdict),
        ),
        Section(
            "confirmed",
            "The best schedules on fresh seeds and the test split",
            "Noise: standard deviation over fresh seeds, the floor below which differences mean "
            "nothing. Optimism: how much worse a schedule was on test than what its search saw "
            "on validation; below 0 it was better.",
            figure=None if judged else "nothing has been confirmed",
            html=fresh,
        ),
        Section(
            "studies",
            "Studies in this comparison",
            html=_listed(studies, comparison.displace > 0),
        ),
    ]


def _checkpoints(verdict: Mapping[str, Any]) -> str:
    first, *others = verdict["checkpoints"]
    head = ["searcher", f"regret at {first}", *map(str, others), "rank", "better", "p"]
    rows = []
    for row in verdict["rows"]:
        contrast = row["contrast"]
        better = None if contrast is None else contrast["improvement"]
        p = None if contrast is None else contrast["test"]["adjusted_p"]
        cells = [*map(_estimate, row["regrets"]), look.number(row["rank"]), _estimate(better)]
        rows.append([row["searcher"], *cells, "–" if p is None else f"{p:.2g}"])
    return table(head, rows)


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    interval = estimate["interval"]
    ends = "" if interval is None else f"\n[{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{estimate['value']:.3f}{ends}"


def _judged_rows(comparison: Comparison) -> list[list[str]]:
    rows = []
    for task in comparison.tasks:
        facts = comparison.facts[task]
        for searcher in comparison.searchers:
            judged = comparison.confirmed.get((task, searcher))
            if judged is None:
                continue
            saw = comparison.best_values[task, searcher]
            mean, failed = judged.mean, len(judged.failures)
            rows.append(
                [
                    task,
                    searcher,
                    facts.unit,
                    look.number(facts.shown(saw)),
                    look.number(None if mean is None else facts.shown(mean)),
                    look.number(judged.spread),
                    look.number(None if mean is None else mean - saw),
                    f"{len(judged.values)}" + (f" ({failed} failed)" if failed else ""),
                ]
            )
    return rows


def _listed(studies: Studies, displaced: bool) -> str:
    rows = [_study_row(*place, history) for place, history in sorted(studies.items())]
    head = ["study", "task", "searcher", "seed", "trials", "best", "cost (token-equivalents)"]
    if displaced:
        head.append("displaced (octaves)")
        octaves = [history.settings["displacement"] for _, history in sorted(studies.items())]
        rows = [(*row, f"{moved:+.2f}") for row, moved in zip(rows, octaves, strict=True)]
    return f"<details><summary>{counted(len(rows), 'row')}</summary>{table(head, rows)}</details>"


def _study_row(task: str, searcher: str, seed: int, history: History) -> Sequence[str]:
    best = history.best
    value = None if best is None or best.value is None else history.facts.shown(best.value)
    return (
        str(history.header["name"]),
        task,
        searcher,
        str(seed),
        str(len(ended(history))),
        look.number(value),
        f"{history.search_cost:,.0f}",
    )
