"""What quality costs in divergence and compute."""

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hpopt_envs.records import RunFacts, Segment, Trial

from ...record.history import History
from . import look
from .marks import about
from .tried import winnable

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]


def pareto_front(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points no other is at least as good as in everything and better in something.

    Args:
        points: shape (points, criteria); less is better in each.

    Returns:
        Shape (points,).
    """
    return np.array(
        [not ((points <= p).all(axis=1) & (points < p).any(axis=1)).any() for p in points], bool
    )


def trade(history: History) -> "Figure | str":
    """Return the task's metric against the divergence at trials' ends, coloured by their cost.

    The trials that are on the Pareto front of all three are drawn large; the line is the front of
    metric and divergence alone.
    """
    from plotly.graph_objects import Figure

    facts = history.facts
    metric = facts.objective_name
    trials = [t for t in winnable(history) if {metric, "divergence"} <= _end(t).metrics.keys()]
    if len(trials) < 2:
        return "it needs two trials with a value whose divergence was measured"
    quality = np.array([_end(t).metrics[metric] for t in trials])
    divergence = np.array([_end(t).metrics["divergence"] for t in trials])
    cost = np.array([t.cost for t in trials])
    worse = -quality if facts.maximize else quality
    figure = Figure()
    _add_front(figure, divergence, quality, worse)
    front = pareto_front(np.column_stack([worse, divergence, cost]))
    for chosen, name, size in ((~front, "trial", 8), (front, "on the Pareto front", 13)):
        if chosen.any():
            edge = {"width": 1.6 if size > 8 else 0.5, "color": look.INK}
            marker = {"color": cost[chosen], "coloraxis": "coloraxis", "size": size, "line": edge}
            figure.add_scatter(
                x=divergence[chosen],
                y=quality[chosen],
                mode="markers",
                marker=marker,
                showlegend=False,
                text=[_told(facts, trials[index]) for index in np.flatnonzero(chosen)],
                hoverinfo="text",
            )
            # Plotly can't give a legend the colour of a scale.
            plain = {"color": look.MUTED, "size": size, "line": edge}
            figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=plain)
    return _dressed_trade(figure, facts, divergence, quality)


def _told(facts: RunFacts, trial: Trial) -> str:
    metrics, metric = _end(trial).metrics, facts.objective_name
    return (
        f"{about(facts, trial)}<br>divergence {metrics['divergence']:.4g} nats"
        f"<br>{escape(metric)} {metrics[metric]:.4g}"
        f"<br>cost {trial.cost:,.0f} token-equivalents"
    )


def _end(trial: Trial) -> Segment:
    return trial.segments[-1]


def _add_front(
    figure: "Figure",
    divergence: NDArray[np.float64],
    quality: NDArray[np.float64],
    worse: NDArray[np.float64],
) -> None:
    """Add the stairs of what can be had at a divergence of at most x."""
    on = pareto_front(np.column_stack([worse, divergence]))
    order = np.argsort(divergence[on])
    figure.add_scatter(
        x=divergence[on][order],
        y=quality[on][order],
        mode="lines",
        line={"shape": "hv", "width": 1.5, "color": look.MUTED},
        name="best at this divergence or less",
        hoverinfo="skip",
    )


def _dressed_trade(
    figure: "Figure",
    facts: RunFacts,
    divergence: NDArray[np.float64],
    quality: NDArray[np.float64],
) -> "Figure":
    metric = facts.objective_name
    unit = f" ({facts.unit})" if facts.unit else ""
    # From the best to the base model, where every trade begins; what is worse isn't one.
    best = float(quality.max() if facts.maximize else quality.min())
    base = facts.base_metrics.get(metric, best)
    length = abs(base - best) or abs(best) or 1.0
    ends = [min(base, best) - 0.06 * length, max(base, best) + 0.06 * length]
    log = bool(divergence.min() > 0 and divergence.max() > 30 * divergence.min())
    if facts.max_divergence is not None:
        limit = facts.max_divergence
        figure.add_vline(x=limit, line={"color": look.RED, "dash": "dash", "width": 1.2})
        figure.add_annotation(
            x=math.log10(limit) if log else limit,  # annotations are placed in decades
            y=1,
            yref="paper",
            text=f"limit {limit:g}",
            showarrow=False,
            xanchor="left",
            font={"color": look.RED},
        )
    return look.dressed(
        figure,
        440,
        xaxis={
            "title": "divergence from the reference (nats)",
            "type": "log" if log else "linear",
            "dtick": 1 if log else None,
            "rangemode": "normal" if log else "tozero",
        },
        yaxis={"title": escape(f"{metric}{unit}"), "range": ends},
        coloraxis={
            "colorscale": look.SCALE,
            "colorbar": {
                "title": {"text": "cost of the trial<br>(token-equivalents)", "side": "right"},
                "tickformat": "~s",
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
        hovermode="closest",
    )
