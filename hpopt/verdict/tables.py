"""How a verdict is worded: a sentence a searcher, tables, plain data."""

import math
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from typing import Any

from ..wording import counted
from .judging import Conclusion, Contrast, Estimate, Row, Verdict, blocks_needed
from .outcome import Comparison
from .statistics import ComputeRatio, Interval

NONE = "–"


def sentence(verdict: Verdict, row: Row) -> str:
    """Return what a comparison says of a searcher."""
    against, contrast = verdict.against, row.contrast
    if row.searcher == against:
        return f"{against}: what the others are compared with."
    if contrast is None:
        return f"{row.searcher} against {against}: no task and seed on which both have finished."
    p, effect = _p(contrast.test.adjusted_p), _effect(contrast)
    match contrast.test.conclusion:
        case Conclusion.TOO_FEW:
            needed = blocks_needed(len(verdict.rows) - 1)
            blocks = f"{counted(contrast.test.blocks, 'block')}, {needed} needed"
            said = f"too few blocks to tell ({blocks}); {effect}"
        case Conclusion.NOT_SHOWN:
            said = f"no difference shown ({p}); {effect}"
        case _ if contrast.compute is None:
            said = f"{effect} ({p})"
        case _:
            said = f"{_compute(contrast, contrast.compute)} ({p}); {effect}"
    beside = {Conclusion.BETTER: "beats", Conclusion.WORSE: "loses to"}
    return f"{row.searcher} {beside.get(contrast.test.conclusion, 'against')} {against}: {said}."


def _compute(contrast: Contrast, compute: ComputeRatio) -> str:
    leader, follower = contrast.leader, contrast.follower
    ratio, interval = f"{_times(compute.value)}×", _interval(compute.interval, _times)
    if compute.reached:
        never = f", but never in {compute.censored} of {counted(compute.blocks, 'block')}"
        return (
            f"{follower} reached {leader}'s result with {ratio}{interval} the compute"
            f"{never if compute.censored else ''}"
        )
    if compute.interval is not None and math.isinf(compute.interval[0]):
        interval = ""  # says no more than that it isn't reached
    return f"{follower} needs more than {ratio}{interval} the compute for {leader}'s result"


def _effect(contrast: Contrast) -> str:
    """Return the difference of regrets, as the leader has it."""
    value, interval = contrast.difference.value, contrast.difference.interval
    if value == 0:
        return "their mean regret is the same"
    if value < 0 and interval is not None:
        interval = (-interval[1], -interval[0])
    lower = f"{_regret(abs(value))}{_interval(interval, _regret)}"
    return f"{contrast.leader}'s mean regret is lower by {lower}"


def table(verdict: Verdict) -> list[str]:
    """Return the lines of a table for the terminal; an interval only at the final cost."""
    grid = _grid(verdict, len(verdict.checkpoints) - 1)
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in grid
    ]
    return [*title(verdict), *lines, "", legend(verdict)]


def markdown(verdict: Verdict) -> str:
    """Return the table for a README, with all intervals."""
    head, *rows = _grid(verdict, 0)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([*title(verdict), *(f"| {' | '.join(cells)} |" for cells in lines)])


def title(verdict: Verdict) -> list[str]:
    """Return the lines above a table; none where all searchers began at the fitted default."""
    return [displaced(verdict.displace), ""] if verdict.displace else []


def displaced(spread: float) -> str:
    """Return what is said of a comparison whose learning rates were displaced."""
    return (
        "Default and range of the learning rate are displaced by a normal draw, of standard "
        f"deviation {spread:g} octaves, for each task and seed, alike for all searchers."
    )


def legend(verdict: Verdict) -> str:
    """Return what the columns of a table mean."""
    confirmed = ""
    if any(row.optimism is not None for row in verdict.rows):
        confirmed = (
            " Optimism: how much worse the best schedules were on fresh seeds and the test split "
            "than the search saw; noise: standard deviation over fresh seeds; as shares of the "
            "gap from the base model to the best known."
        )
    return (
        "Regret at a cost in full-run equivalents: interquartile mean, 0 is the best known and 1 "
        "the base model; bootstrap 95% intervals describe. Rank: mean, at the final cost. Better: "
        f"probability of being better than {verdict.against}; p: sign-flip test against it, after "
        f"Holm.{confirmed}"
    )


def curves_csv(comparison: Comparison) -> str:
    """Return every study's improvements as CSV, objectives as their user knows them."""
    lines = ["task,searcher,seed,full_run_equivalents,best_so_far"]
    for (task, searcher, seed), curve in comparison.curves.items():
        facts = comparison.facts[task]
        lines.append(f"{task},{searcher},{seed},0,{facts.shown(facts.base_objective):.6g}")
        for cost, value in zip(curve.equivalents, curve.values, strict=True):
            lines.append(f"{task},{searcher},{seed},{cost:.6g},{facts.shown(value):.6g}")
    return "\n".join(lines) + "\n"


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict with its sentences as plain data; None stands for what isn't finite."""
    sentences = {row.searcher: sentence(verdict, row) for row in verdict.rows}
    plain: dict[str, Any] = _plain(asdict(verdict))
    plain["title"] = "\n".join(title(verdict)).strip()
    for row in plain["rows"]:
        row["sentence"] = sentences[row["searcher"]]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Enum):
        return value.value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _grid(verdict: Verdict, intervals_from: int) -> list[list[str]]:
    """Return the cells of a table, its head first; intervals from a checkpoint's index on."""
    first, *others = verdict.checkpoints
    head = ["searcher", f"regret at {first}", *map(str, others), "rank", "better", "p"]
    confirmed = any(row.optimism is not None for row in verdict.rows)
    grid = [[*head, "optimism", "noise"] if confirmed else head]
    for row in verdict.rows:
        cells = [
            _estimate(regret, interval=place >= intervals_from)
            for place, regret in enumerate(row.regrets)
        ]
        contrast = row.contrast
        better = None if contrast is None else contrast.improvement
        grid.append(
            [
                row.searcher,
                *cells,
                NONE if row.rank is None else f"{row.rank:.2f}",
                _estimate(better, interval=not intervals_from),
                NONE
                if contrast is None
                else _p(contrast.test.adjusted_p).removeprefix("p ").removeprefix("= "),
            ]
        )
        if confirmed:
            grid[-1] += [NONE if x is None else _regret(x) for x in (row.optimism, row.noise)]
    return grid


def _estimate(estimate: Estimate | None, interval: bool) -> str:
    if estimate is None:
        return NONE
    return _regret(estimate.value) + (_interval(estimate.interval, _regret) if interval else "")


def _interval(interval: Interval | None, shown: Callable[[float], str]) -> str:
    return "" if interval is None else f" [{shown(interval[0])}, {shown(interval[1])}]"


def _regret(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # never "-0.000"


def _times(ratio: float) -> str:
    if math.isinf(ratio):
        return "∞"
    return f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
