"""One look for every figure: colours, fonts, and axes in a hyperparameter's native values."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any

from hpopt_envs.records import RunFacts
from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    Parameter,
    SearchSpace,
    Value,
)

from ...optuna_space import NativeEncoding
from ...wording import objective

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

# Okabe and Ito, "Color Universal Design" (2008), but for yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot")  # for the second and third seven lines
BLUE, RED, GREEN, PINK, ORANGE = COLOURS[:5]
INK, MUTED, GRID = "#222222", "#767676", "#e6e6e6"
SCALE = "Viridis"  # of values: the better, the darker
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
UNITS = {  # of hyperparameters that have one
    "batch_size": "sequences per step",
    "warmup_fraction": "of the trial",
    "final_fraction": "of the learning rate",
}


def colour(index: int) -> str:
    """Return the colour of the line at an index; see `dash` for what tells equal ones apart."""
    return COLOURS[index % len(COLOURS)]


def dash(index: int) -> str:
    """Return how the line at an index is drawn."""
    return DASHES[index // len(COLOURS) % len(DASHES)]


def faint(hexadecimal: str, alpha: float) -> str:
    """Return a colour as RGBA."""
    red, green, blue = (int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def dressed(figure: "Figure", height: int, **layout: Any) -> "Figure":
    """Give a figure the look of all others; returns it.

    Args:
        figure: with its traces.
        height: pixels; the width is the page's.
        layout: further settings of the layout.
    """
    axis = {
        "gridcolor": GRID,
        "linecolor": "#bbbbbb",
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": "#bbbbbb",
        "ticklen": 4,
        "exponentformat": "power",
        "automargin": True,
        "title": {"font": {"size": 13}},
    }
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12}}
    common = {
        "font": {"family": FONT, "size": 12, "color": INK},
        "margin": {"l": 70, "r": 20, "t": 40, "b": 55},
        "hoverlabel": {"bgcolor": "white", "font": {"family": FONT, "size": 12}, "align": "left"},
        "legend": legend,
        "xaxis": axis,
        "yaxis": axis,
    }
    figure.layout.template = {"layout": common}  # updated, it would keep plotly's own colours
    return figure.update_layout(title=None, height=height, **layout)


def title(name: str) -> str:
    """Return a hyperparameter's or a metric's name as an axis has it, with its unit."""
    unit = UNITS.get(name)
    return name.replace("_", " ") + (f"<br>({unit})" if unit else "")


def objective_title(facts: RunFacts) -> str:
    """Return what trials are judged by, with its unit, as HTML."""
    return escape(objective(facts) + (f" ({facts.unit})" if facts.unit else ""))


def number(value: float | None) -> str:
    """Return a number at four significant digits."""
    if value is None:
        return "–"
    if abs(value) >= 1000 and math.isfinite(value):
        return f"{float(f'{value:.4g}'):,.0f}"
    return f"{value:.4g}"


def placed(space: SearchSpace, name: str, values: Iterable[Value]) -> list[Value]:
    """Return where values lie on their axis: 0 has a place below the least value of a log axis."""
    place = NativeEncoding(space).parameters
    kept = [place({name: value})[name] for value in values]
    return [str(v) for v in kept] if isinstance(space[name], ChoiceParameter) else kept


def axis(space: SearchSpace, name: str, most_ticks: int = 7) -> dict[str, Any]:
    """Return settings of an axis of a hyperparameter's native values, over its whole range."""
    parameter = space[name]
    if isinstance(parameter, ChoiceParameter):
        choices = [str(choice) for choice in parameter.choices]
        order = {"categoryorder": "array", "categoryarray": choices}
        return {"type": "category", "range": [-0.5, len(choices) - 0.5], **order}
    low, high = (float(end) for end in parameter.native_range)
    if not is_log(parameter):
        margin = 0.04 * (high - low)
        ends = [low - margin, high + margin]
        return {"type": "linear", "range": ends, "nticks": most_ticks, "tickangle": 0}
    first, last = math.log10(low), math.log10(high)
    margin = 0.04 * (last - first)
    values = log_ticks(parameter, most_ticks)
    return {
        "type": "log",
        "range": [first - margin, last + margin],
        "tickvals": placed(space, name, values),
        "ticktext": [f"{value:g}" for value in values],
        "tickangle": 0,
    }


def is_log(parameter: Parameter) -> bool:
    """Return whether a hyperparameter is drawn on a log scale."""
    if isinstance(parameter, IntegerParameter):
        return parameter.log or parameter.powers_of_two
    return isinstance(parameter, FloatParameter) and parameter.log


def word(value: Value) -> str:
    """Return a value as a tick has it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def ticks(parameter: Parameter, most: int = 7) -> list[Value]:
    """Return values that mark a hyperparameter's scale: its choices, or some round numbers."""
    if isinstance(parameter, ChoiceParameter):
        return list(parameter.choices)
    if is_log(parameter):
        return list(log_ticks(parameter, most))
    low, high = parameter.native_range
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= most)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{k * step:.6g}") for k in range(first, last + 1)]


def log_ticks(parameter: FloatParameter | IntegerParameter, most: int) -> list[float]:
    """Round values over a log scale, at most so many, and 0 where it has a place."""
    if isinstance(parameter, IntegerParameter) and parameter.powers_of_two:
        powers = range(int(math.log2(parameter.low)), int(math.log2(parameter.high)) + 1)
        return _thinned([2.0**power for power in powers], most)
    low, high = float(parameter.low), float(parameter.high)
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    inside: list[float] = []
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        values = [float(f"{m}e{decade}") for decade in decades for m in mantissas]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= most:
            break
    inside = _thinned(inside, most)
    if not (isinstance(parameter, FloatParameter) and parameter.zero):
        return inside
    notch = parameter.to_unit(0.0)
    return [0.0, *(value for value in inside if parameter.to_unit(value) > notch + 0.1)]


def _thinned(values: list[float], most: int) -> list[float]:
    return values[:: 1 + (len(values) - 1) // most]


def base(facts: RunFacts, values: Sequence[float]) -> float:
    """Return the base model's value as shown; the worst of some where there is no base model."""
    if not facts.external:
        return facts.shown(facts.base_objective)
    known = [value for value in values if math.isfinite(value)] or [0.0]
    return min(known) if facts.maximize else max(known)


def robust_range(values: Sequence[float], base: float, maximize: bool) -> list[float]:
    """Return the ends of an axis that a few trials close to an explosion don't flatten.

    Args:
        values: of the trials, as shown.
        base: the base model's value; it is on the axis where that doesn't flatten the others.
        maximize: whether more is better.
    """
    sign = -1.0 if maximize else 1.0
    oriented = [sign * value for value in values if math.isfinite(value)] or [sign * base]
    best = min([*oriented, sign * base])
    worst = min(max(oriented), best + 4 * (median(oriented) - best))
    if sign * base <= best + 3 * (worst - best):
        worst = max(worst, sign * base)
    length = worst - best or abs(best) or 1.0
    return sorted([sign * (best - 0.08 * length), sign * (worst + 0.08 * length)])
