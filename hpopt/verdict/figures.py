"""Figures of a comparison: regret and best so far against cost, a line a searcher."""

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..report.page import look
from .outcome import Comparison, best_at
from .statistics import Array, bootstrap_interval, interquartile_mean

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

POINTS = 48  # of a curve, beside the checkpoints
LONG = 50  # full-run equivalents from which on costs are on a log scale, as the checkpoints are
RESAMPLES = 500  # for a band, which is read by eye
COLUMNS = 3  # of tasks
COST = "cost (full-run equivalents)"


def regret_curves(comparison: Comparison) -> "Figure":
    """Return the interquartile mean of normalised regret over cost, with bootstrap 95% bands."""
    from plotly.graph_objects import Figure

    costs = _costs(comparison)
    regrets = np.stack([comparison.regrets(cost) for cost in costs], axis=1)
    baseline = regrets[comparison.searchers.index(comparison.against)]
    generator = np.random.default_rng(0)
    figure = Figure()
    for index, searcher in enumerate(comparison.searchers):
        own = np.where(np.isnan(baseline), np.nan, regrets[index])  # as the table's
        if not np.isnan(own[0]).all():
            _add_band(figure, costs, own, index, searcher, generator)
    return look.dressed(
        figure,
        460,
        xaxis={"title": COST, **_axis(comparison)},
        yaxis={
            "title": "normalised regret<br>(0: best known, 1: base model)",
            "range": [0, 1.02],
        },
        hovermode="x unified",
    )


def _costs(comparison: Comparison) -> list[float]:
    """Return where curves are evaluated, in full-run equivalents, the checkpoints included."""
    most = comparison.equivalents
    even = np.geomspace(1, most, POINTS) if most >= LONG else np.linspace(0, most, POINTS + 1)
    return sorted({*even.tolist(), *map(float, comparison.checkpoints)})


def _axis(comparison: Comparison) -> dict[str, str]:
    """Return what an axis of costs is: it begins at 0, or at 1 on a log scale."""
    return {"type": "log"} if comparison.equivalents >= LONG else {"rangemode": "tozero"}


def _add_band(
    figure: "Figure",
    costs: list[float],
    regrets: Array,
    index: int,
    searcher: str,
    generator: np.random.Generator,
) -> None:
    """Add a searcher's line with what its seeds would make of it; regrets (costs, tasks, seeds)."""
    shade = look.colour(index)
    found = [
        bootstrap_interval(interquartile_mean, at, generator=generator, resamples=RESAMPLES)
        for at in regrets
    ]
    intervals = [interval for interval in found if interval is not None]
    if len(intervals) == len(costs):
        for ends, fill in zip(zip(*intervals, strict=True), (None, "tonexty"), strict=True):
            figure.add_scatter(
                x=costs,
                y=ends,
                mode="lines",
                line={"width": 0, "shape": "hv"},
                fill=fill,
                fillcolor=look.faint(shade, 0.14),
                legendgroup=searcher,
                showlegend=False,
                hoverinfo="skip",
            )
    figure.add_scatter(
        x=costs,
        y=interquartile_mean(regrets),
        mode="lines",
        line={"color": shade, "dash": look.dash(index), "width": 2.2, "shape": "hv"},
        name=escape(searcher),
        legendgroup=searcher,
        hovertemplate="%{y:.4f}",
    )


def task_curves(comparison: Comparison) -> "Figure":
    """Return the best so far on each task in its objective's unit, mean over seeds, over cost."""
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    tasks, costs = comparison.tasks, _costs(comparison)
    columns = min(len(tasks), COLUMNS)
    rows = math.ceil(len(tasks) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[escape(task) for task in tasks],
        horizontal_spacing=0.09,
        vertical_spacing=0.3 / rows,
    )
    for place, task in enumerate(tasks):
        row, column = place // columns + 1, place % columns + 1
        _add_task(figure, comparison, task, costs, row, column)
        if row == (len(tasks) - column) // columns + 1:
            figure.update_xaxes(title=COST, row=row, col=column)
    if comparison.equivalents >= LONG:
        figure.update_xaxes(_axis(comparison))
    height = 110 + 260 * rows
    return look.dressed(figure, height, legend={"y": 1 + 45 / height}, margin={"t": 80})


def _add_task(
    figure: "Figure", comparison: Comparison, task: str, costs: list[float], row: int, col: int
) -> None:
    facts = comparison.facts[task]
    base = facts.base_objective
    visible: list[float] = []
    for index, searcher in enumerate(comparison.searchers):
        curves = [comparison.curves.get((task, searcher, seed)) for seed in comparison.seeds]
        found = [curve for curve in curves if curve is not None]
        if not found:
            continue
        means = [
            facts.shown(float(np.mean([min(base, best_at(c, cost, base)) for c in found])))
            for cost in costs
        ]
        visible += [mean for mean, cost in zip(means, costs, strict=True) if cost >= 1]
        figure.add_scatter(
            x=costs,
            y=means,
            mode="lines",
            line={
                "color": look.colour(index),
                "dash": look.dash(index),
                "width": 1.8,
                "shape": "hv",
            },
            name=escape(searcher),
            legendgroup=searcher,
            showlegend=row == col == 1,
            hovertemplate=f"{escape(searcher)} %{{y:.4g}} at %{{x:.3g}}<extra></extra>",
            row=row,
            col=col,
        )
    unit = f"{facts.objective_name}, {facts.unit}" if facts.unit else facts.objective_name
    axis = {"title": {"text": escape(unit), "font": {"size": 11}}, "nticks": 6}
    if visible:
        length = max(visible) - min(visible) or abs(visible[0]) or 1.0
        axis["range"] = [min(visible) - 0.06 * length, max(visible) + 0.06 * length]
    figure.update_yaxes(axis, row=row, col=col)
