"""Figures over the search space: importance, parallel coordinates, slices, a contour."""

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from hpopt_envs.records import Trial
from hpopt_search_spaces import SearchSpace

from ...record.history import History
from . import look
from .importance import Importances
from .marks import LOOKS, OVER, about, height, kind
from .tried import (
    BROKEN,
    best_first,
    configuration,
    ended,
    resolved_space,
    shown_value,
    valued_study,
    varied,
    winnable,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

LEAST_TRIALS = 3  # with a value, for figures over the search space
LEAST_FOR_CONTOUR = 8
COLUMNS = 3  # of slices
MOST_POINTS = 150  # of a contour, whose size grows with their square
MOST_LINES = 300  # of parallel coordinates: the best trials


def importance_bars(importances: Importances) -> "Figure":
    """Draw both estimators' shares of importance, the most important hyperparameter on top."""
    from plotly.graph_objects import Bar, Figure

    names = importances.names[::-1]
    shares = {"PED-ANOVA": importances.ped_anova, "fANOVA": importances.fanova}
    bars = [
        Bar(
            y=[name.replace("_", " ") for name in names],
            x=[of.get(name) for name in names],
            orientation="h",
            name=estimator,
            marker={"color": colour},
            text=["" if name not in of else f"{of[name]:.0%}" for name in names],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{y}}: %{{x:.1%}} by {estimator}<extra></extra>",
        )
        for (estimator, of), colour in zip(shares.items(), (look.BLUE, look.ORANGE), strict=True)
        if of
    ]
    most = max(share for of in shares.values() for share in of.values())
    return look.dressed(
        Figure(bars[::-1]),  # bars are drawn from the bottom up
        120 + 48 * len(names),
        xaxis={"title": "share of importance", "tickformat": ".0%", "range": [0, 1.12 * most]},
        legend={"traceorder": "reversed"},
        bargap=0.3,
    )


def parallel_coordinates(history: History) -> "Figure | str":
    """Draw trials as lines through what they were given, each on its own scale, and values."""
    from plotly.graph_objects import Figure

    facts, space = history.facts, resolved_space(history)
    trials = best_first(history)[:MOST_LINES][::-1]  # the best are drawn on top
    names = varied(space, trials)
    if len(trials) < LEAST_TRIALS or not names:
        return _too_few(history, LEAST_TRIALS)
    values = [shown_value(facts, trial) for trial in trials]
    ends = look.robust_range(values, values[-1], facts.maximize)
    figure = Figure()
    for trial, value in zip(trials, values, strict=True):
        given = configuration(space, trial)
        goodness = _place(value, ends)
        figure.add_scatter(
            x=list(range(len(names) + 1)),
            y=[*(space[n].to_unit(given[n]) if n in given else None for n in names), goodness],
            mode="lines+markers",
            line={
                "width": 1.6,
                "color": _shade(goodness, facts.maximize),
                "dash": "dot" if kind(facts, trial) == OVER else "solid",
            },
            marker={"size": 4},
            opacity=0.8,
            connectgaps=True,
            showlegend=False,
            text=about(facts, trial),
            hoverinfo="text",
        )
    _add_scales(figure, space, names, ends)
    titles = [
        *map(look.title, names),
        "objective" + (f"<br>({escape(facts.unit)})" if facts.unit else ""),
    ]
    return look.dressed(
        figure,
        430,
        xaxis={
            "tickvals": list(range(len(titles))),
            "ticktext": titles,
            "tickangle": 0,
            "tickfont": {"size": 12 if len(titles) < 6 else 10},
            "range": [-0.25, len(names) + 0.15],
            "showgrid": False,
            "showline": False,
            "ticks": "",
        },
        yaxis={"range": [-0.04, 1.04], "visible": False, "fixedrange": True},
        hovermode="closest",
    )


def _place(value: float, ends: Sequence[float]) -> float:
    """Return where a value lies between the ends of an axis, in [0, 1]."""
    return min(max((value - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0)


def _shade(place: float, maximize: bool) -> str:
    """Return the colour of a place on the objective's axis: the better, the darker."""
    from plotly.colors import sample_colorscale  # type: ignore[import-untyped]

    (shade,) = sample_colorscale(look.SCALE, 0.92 * (1.0 - place if maximize else place))
    return str(shade)


def _add_scales(
    figure: "Figure", space: SearchSpace, names: Sequence[str], ends: Sequence[float]
) -> None:
    """Draw the axes of parallel coordinates with their ticks."""
    scales = [
        [(space[name].to_unit(value), look.word(value)) for value in look.ticks(space[name])]
        for name in names
    ]
    length = ends[1] - ends[0]
    rounds = [ends[0] + length * step / 5 for step in range(6)]
    scales.append([(_place(value, ends), look.number(value)) for value in rounds])
    for x, scale in enumerate(scales):
        figure.add_vline(x=x, line={"color": "#999999", "width": 1}, layer="below")
        for y, text in scale:
            figure.add_annotation(
                x=x,
                y=y,
                text=escape(text),
                showarrow=False,
                xanchor="right",
                xshift=-5,
                font={"size": 11, "color": look.MUTED},
                bgcolor="rgba(255,255,255,0.75)",
                borderpad=1,
            )


def slices(history: History) -> "Figure | str":
    """Return the trials' values over each hyperparameter alone; broken trials at the worse edge."""
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    facts, space, trials = history.facts, resolved_space(history), winnable(history)
    broken = [trial for trial in ended(history) if trial.outcome in BROKEN]
    names = varied(space, [*trials, *broken])
    if len(trials) < LEAST_TRIALS or not names:
        return _too_few(history, LEAST_TRIALS)
    values = [shown_value(facts, trial) for trial in trials]
    ends = look.robust_range(values, look.base(facts, values), facts.maximize)
    rows = math.ceil(len(names) / COLUMNS)
    columns = min(len(names), COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.32 / rows,
    )
    for index, name in enumerate(names):
        place = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
        _add_slice(figure, history, name, [*trials, *broken], ends, **place)
        figure.update_xaxes(
            look.axis(space, name, most_ticks=5) | {"title": look.title(name)}, **place
        )
    figure.update_yaxes(range=ends)
    figure.update_yaxes(title=look.objective_title(facts), col=1)
    return look.dressed(figure, 60 + 260 * rows)


def _add_slice(
    figure: "Figure",
    history: History,
    name: str,
    trials: Sequence[Trial],
    ends: Sequence[float],
    row: int,
    col: int,
) -> None:
    """Add the trials that were given a hyperparameter, in a subplot of its own."""
    facts, space = history.facts, resolved_space(history)
    inside = 0.04 * (ends[1] - ends[0])
    worse = ends[0] + inside if facts.maximize else ends[1] - inside
    for what, marker in LOOKS.items():
        values = {t.id: configuration(space, t) for t in trials if kind(facts, t) == what}
        here = [t for t in trials if name in values.get(t.id, {})]
        if here:
            heights = [height(facts, trial) for trial in here]
            figure.add_scatter(
                x=look.placed(space, name, [values[trial.id][name] for trial in here]),
                y=[worse if h is None else h for h in heights],
                mode="markers",
                marker={"size": 7, "line": {"width": 1.2}, **marker},
                name=what,
                legendgroup=what,
                showlegend=row == col == 1,
                text=[about(facts, trial) for trial in here],
                hoverinfo="text",
                cliponaxis=False,
                row=row,
                col=col,
            )


def contour(history: History, names: Sequence[str]) -> "Figure | str":
    """Draw Optuna's map of the objective over two numbers, with where trials broke.

    Args:
        history: of the study.
        names: of hyperparameters, the most important first; the first two of which enough trials
            were given several values are drawn.
    """
    from optuna.visualization import plot_contour

    facts, space, trials = history.facts, resolved_space(history), winnable(history)
    if len(trials) < LEAST_FOR_CONTOUR:
        return f"it needs {LEAST_FOR_CONTOUR} trials with a value, and there are {len(trials)}"
    several = varied(space, trials)
    pair = [name for name in names if name in several][:2]
    if len(pair) < 2:
        return "fewer than two hyperparameters were given several values"
    study = valued_study(history, trials[:: 1 + (len(trials) - 1) // MOST_POINTS])
    figure = plot_contour(study, params=pair, target_name="objective")
    values = [shown_value(facts, trial) for trial in trials]
    low, high = look.robust_range(values, values[0], facts.maximize)
    figure.update_traces(
        selector={"type": "contour"},
        zmin=low,
        zmax=high,
        colorscale=look.SCALE,
        reversescale=facts.maximize,
        colorbar={
            "title": {"text": look.objective_title(facts), "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        },
    )
    figure.update_traces(
        selector={"type": "scatter"}, marker={"size": 6, "line": {"color": "white", "width": 1}}
    )
    x, y = (figure.layout[side].title.text for side in ("xaxis", "yaxis"))
    return look.dressed(
        figure,
        520,
        xaxis=look.axis(space, x) | {"title": look.title(x)},
        yaxis=look.axis(space, y) | {"title": look.title(y)},
    )


def _too_few(history: History, least: int) -> str:
    count = len(winnable(history))
    if count < least:
        return f"it needs {least} trials with a value, and there are {count}"
    return "every trial with a value was given the same hyperparameters"
