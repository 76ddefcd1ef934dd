"""What a search found over its cost."""

from typing import TYPE_CHECKING

from ...record.history import History, last_cost
from . import look
from .marks import LOOKS, about, height, kind
from .tried import ended

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]


def best_so_far(history: History) -> "Figure":
    """Return every trial at its end, with the best so far over the search's cost.

    Trials without a value are marked in a strip of their own at the top.
    """
    from plotly.graph_objects import Figure

    facts, trials = history.facts, ended(history)
    figure = Figure()
    _add_line(figure, history)
    heights = {trial.id: height(facts, trial) for trial in trials}
    known = [value for value in heights.values() if value is not None]
    for what, marker in LOOKS.items():
        group = [trial for trial in trials if kind(facts, trial) == what]
        for strip in (False, True):
            here = [trial for trial in group if (heights[trial.id] is None) == strip]
            if here:
                figure.add_scatter(
                    x=[trial.segments[-1].study_cost for trial in here],
                    y=[0.5 if strip else heights[trial.id] for trial in here],
                    yaxis="y2" if strip else "y",
                    mode="markers",
                    marker={"size": 8, "line": {"width": 1.2}, **marker},
                    name=what,
                    legendgroup=what,
                    showlegend=here[0] is group[0],
                    text=[about(facts, trial) for trial in here],
                    hoverinfo="text",
                )
    y_axis = {
        "title": look.objective_title(facts),
        "range": look.robust_range(known, look.base(facts, known), facts.maximize),
        "domain": [0, 0.9 if len(known) < len(trials) else 1],
    }
    strip_axis = {
        "domain": [0.92, 1],
        "range": [0, 1],
        "tickvals": [0.5],
        "ticktext": ["no value"],
        "ticks": "",
        "showgrid": False,
        "fixedrange": True,
        "visible": len(known) < len(trials),
    }
    return look.dressed(
        figure,
        440,
        xaxis={"title": f"cost ({history.cost_unit})", "rangemode": "tozero", "tickformat": "~s"},
        yaxis=y_axis,
        yaxis2=strip_axis,
    )


def _add_line(figure: "Figure", history: History) -> None:
    facts = history.facts
    end = last_cost(history)
    x = [history.trials[better.trial].segments[-1].study_cost for better in history.improvements]
    y = [facts.shown(better.value) for better in history.improvements]
    if not facts.external:
        base = facts.shown(facts.base_objective)
        figure.add_scatter(
            x=[0, end],
            y=[base, base],
            mode="lines",
            line={"color": look.MUTED, "width": 1.2, "dash": "dash"},
            name=f"base model: {look.number(base)}",
            hoverinfo="name",
        )
    if x:
        figure.add_scatter(
            x=[*x, end],
            y=[*y, y[-1]],
            mode="lines",
            line={"color": look.GREEN, "width": 2.2, "shape": "hv"},
            name=f"best so far: {look.number(y[-1])}",
            hovertemplate="best so far %{y:.4g}<br>at %{x:.4s} "
            + f"{history.cost_unit}<extra></extra>",
        )
