"""Plots of a study, as figures of matplotlib that nothing shows until they are saved.

Stable-Baselines3 requires matplotlib anyway, and MLflow previews one file at a time in a sandbox,
so that a picture of its own is what it can show.
"""

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from hpopt_envs.records import Outcome, RunFacts, Trial
from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    Parameter,
    SearchSpace,
)

from ..record.history import History
from ..wording import limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from ..record.history import _searched, last_cost

INK, MUTED, ACCENT, BROKEN = "#222222", "#8c8c8c", "#d1495b", "#b0413e"
LIGHTEST = 0.92  # of the colour map: its end is too pale on white
BROKEN_OUTCOMES = (Outcome.EXPLODED, Outcome.OUT_OF_MEMORY, Outcome.FAILED)
LOOKS: dict[str, dict[str, Any]] = {  # of trials above
    "trial": {"label": "trial", "s": 36, "edgecolors": "white", "linewidths": 0.6},
    "over": {"label": "over the limit", "s": 30, "marker": "^", "color": MUTED},
    "early": {"label": "stopped early", "s": 26, "facecolors": "white", "edgecolors": MUTED},
    "worse": {"label": "worse than shown", "s": 30, "marker": "d", "color": MUTED},
    "not": {"label": "exploded or failed", "s": 28, "marker": "x", "color": BROKEN},
}
WIDTH, TOP_HEIGHT, ROW_HEIGHT = 8.0, 3.3, 0.95  # inches


@dataclass(frozen=True)
class _Scale:
    """The objective as shown: what is maximised is negated inside.

    Attributes:
        sign: −1 where the objective is maximised, else 1.
        best: shown value at which the axis ends: the best trial's, or the base model's.
        worst: shown value at which the axis ends; worse trials are drawn at that edge.
    """

    sign: int
    best: float
    worst: float

    @classmethod
    def of(cls, facts: RunFacts, trials: list[Trial]) -> "_Scale":
        values = [v for t in trials if (v := t.value) is not None and math.isfinite(v)]
        base = max(values, default=0.0) if facts.external else facts.base_objective
        best = min([*values, base])
        # A few trials close to an explosion would flatten everything else.
        robust = best + 4 * (median(values) - best) if values else best
        worst = min(max(values, default=best), robust)
        if base <= best + 3 * (worst - best):
            worst = max(worst, base)
        sign = -1 if facts.maximize else 1
        return cls(sign, sign * best, sign * (worst if worst > best else best + 1.0))

    def fits(self, value: float) -> bool:
        """Return whether a value, as minimised, is better than the edge of the axis."""
        return math.isfinite(value) and value <= self.sign * self.worst

    def limits(self) -> tuple[float, float]:
        length = self.worst - self.best
        low, high = sorted((self.best - 0.13 * length, self.worst + 0.08 * length))
        return low, high

    def colour(self, value: float) -> tuple[float, float, float, float]:
        """Return the RGBA of a value as minimised: the better, the darker."""
        from matplotlib import colormaps

        place = (self.sign * value - self.best) / (self.worst - self.best)
        red, green, blue, alpha = colormaps["viridis"](LIGHTEST * min(max(place, 0.0), 1.0))
        return red, green, blue, alpha


def search_figure(history: History) -> "Figure":
    """Draw what a search tried over its cost, and what came of it.

    Above, the objective of every trial with the best so far; below, one strip a hyperparameter
    that varied, with every segment at what it was trained with, on the scale of the search space
    and in the colour of its trial's objective. Trials judged on the test split are left out.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    facts = history.facts
    trials = _searched(history)
    space = SearchSpace.from_dict(history.header["space"])
    rows = [parameter for parameter in space.parameters if _varied(parameter, trials)]
    heights = [TOP_HEIGHT] + [ROW_HEIGHT] * len(rows)
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.8), layout="constrained")
    grid = figure.subplots(
        len(heights), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    top, *strips = grid[:, 0]
    scale = _Scale.of(facts, trials)
    _draw_objective(top, history, scale)
    for strip, parameter in zip(strips, rows, strict=True):
        _draw_parameter(strip, parameter, history, scale)
    bottom = grid[-1, 0]
    bottom.set_xlabel(f"cost ({history.cost_unit})", fontsize=9, color=INK)
    bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
    bottom.set_xlim(0, 1.02 * last_cost(history))
    title = f"{history.header['name']}: {history.header['agent']} on {facts.task}"
    figure.suptitle(title + limit(facts), fontsize=11, color=INK)
    return figure


def _draw_objective(axis: "Axes", history: History, scale: _Scale) -> None:
    """Draw every trial at its end, the best so far, and the base model."""
    kinds: dict[str, list[tuple[float, float, Any]]] = {kind: [] for kind in LOOKS}
    for trial in _searched(history):
        if trial.outcome is not None:
            kind, height = _placed(trial, history.facts, scale)
            kinds[kind].append((trial.segments[-1].study_cost, height, _shade(trial, scale)))
    for kind, points in kinds.items():
        if points:
            x, y, shades = zip(*points, strict=True)
            look: dict[str, Any] = {"c": shades} if kind == "trial" else {}
            axis.scatter(x, y, zorder=3, **look, **LOOKS[kind])
    _draw_best(axis, history, scale)
    axis.set_ylim(*scale.limits())
    axis.set_ylabel(_objective_label(history.facts), fontsize=9, color=INK)
    above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 6}
    axis.legend(**above, frameon=False, fontsize=8, handletextpad=0.5, columnspacing=1.4)
    _clean(axis)
    _draw_colours(axis, scale)


def _placed(trial: Trial, facts: RunFacts, scale: _Scale) -> tuple[str, float]:
    """Return the kind of an ended trial's marker, and its height."""
    edge = scale.worst + 0.04 * (scale.worst - scale.best)
    if trial.outcome in BROKEN_OUTCOMES:
        return "not", edge
    value = trial.value if trial.can_win else trial.segments[-1].objective
    if value is None or not scale.fits(value):
        return "worse", edge
    if not trial.can_win:
        return "early", scale.sign * value
    feasible = facts.feasible(trial.segments[-1].metrics)
    return "trial" if feasible else "over", scale.sign * value


def _shade(trial: Trial, scale: _Scale) -> Any:
    if trial.value is not None:
        return scale.colour(trial.value)
    return BROKEN if trial.outcome in BROKEN_OUTCOMES else MUTED


def _draw_colours(axis: "Axes", scale: _Scale) -> None:
    """Draw what the strips' colours stand for, beside the axis that has the numbers."""
    low, high = scale.limits()
    bottom, top = ((end - low) / (high - low) for end in sorted((scale.best, scale.worst)))
    beside = axis.inset_axes((1.008, bottom, 0.012, top - bottom))
    shades = [[LIGHTEST * place / 99] for place in range(100)][:: scale.sign]
    beside.imshow(shades, cmap="viridis", vmin=0, vmax=1, aspect="auto", origin="lower")
    beside.spines[:].set_visible(False)
    beside.set(xticks=[], yticks=[])
    beside.yaxis.set_label_position("right")
    beside.set_ylabel("colours below", fontsize=7.5, color=MUTED)


def _draw_best(axis: "Axes", history: History, scale: _Scale) -> None:
    """Draw the line of the best so far, its last point ringed, and the base model's, if any."""
    base = scale.sign * history.facts.base_objective
    low, high = scale.limits()
    if history.facts.external:
        pass  # there is none
    elif low <= base <= high:
        axis.axhline(base, color=MUTED, linewidth=1, linestyle=(0, (5, 3)), label="base model")
    else:
        text = f"base model: {base:.4g}"
        axis.annotate(
            text, (0.99, 0.93), xycoords="axes fraction", ha="right", fontsize=8, color=MUTED
        )
    if not history.improvements:
        return
    x = [history.trials[better.trial].segments[-1].study_cost for better in history.improvements]
    y = [scale.sign * better.value for better in history.improvements]
    line: dict[str, Any] = {"color": ACCENT, "linewidth": 1.6, "label": "best so far", "zorder": 2}
    axis.plot([*x, last_cost(history)], [*y, y[-1]], drawstyle="steps-post", **line)
    ring: dict[str, Any] = {
        "s": 110,
        "facecolors": "none",
        "edgecolors": ACCENT,
        "linewidths": 1.6,
        "zorder": 4,
    }
    axis.scatter(x[-1], y[-1], **ring)
    beyond: dict[str, Any] = {
        "xytext": (0, -9 * scale.sign),
        "textcoords": "offset points",
        "ha": "center",
    }
    beyond["va"] = "top" if scale.sign > 0 else "bottom"
    look: dict[str, Any] = {"fontsize": 9, "color": ACCENT, "fontweight": "bold"}
    axis.annotate(f"{y[-1]:.4g}", (x[-1], y[-1]), **beyond, **look)


def _draw_parameter(axis: "Axes", parameter: Parameter, history: History, scale: _Scale) -> None:
    """Draw every trial as a bar over the cost that it took, the best one framed."""
    from matplotlib.collections import LineCollection

    best = history.best
    worst_first = sorted(
        _searched(history), key=lambda t: -(math.inf if t.value is None else t.value)
    )
    for trial in worst_first:
        bars = _bars(parameter, trial)
        if best is not None and trial.id == best.id:
            axis.add_collection(LineCollection(bars, colors=ACCENT, linewidths=6.5))
        axis.add_collection(
            LineCollection(bars, colors=[_shade(trial, scale)], linewidths=3, capstyle="butt")
        )
    ticks = _ticks(parameter)
    axis.set_yticks([unit for unit, _ in ticks], [label for _, label in ticks], fontsize=7.5)
    axis.set_ylim(-0.06, 1.06)
    axis.set_ylabel(parameter.name.replace("_", "\n"), fontsize=8, color=INK)
    _clean(axis)


def _bars(parameter: Parameter, trial: Trial) -> list[list[tuple[float, float]]]:
    """Return a horizontal line for each stretch of a trial in which the value stayed the same."""
    bars: list[list[tuple[float, float]]] = []
    for segment in trial.segments:
        if parameter.name not in segment.hyperparameters:
            continue
        height = parameter.to_unit(segment.hyperparameters[parameter.name])
        start, end = segment.study_cost - segment.cost, segment.study_cost
        if bars and bars[-1][1][1] == height:
            bars[-1][1] = (end, height)
        else:
            bars.append([(start, height), (end, height)])
    return bars


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    """Return places in the unit interval, and what they stand for."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if isinstance(parameter, ChoiceParameter):
        return [(parameter.to_unit(choice), str(choice)) for choice in parameter.choices]
    low, high = parameter.low, parameter.high
    whole = isinstance(parameter, IntegerParameter)
    if isinstance(parameter, IntegerParameter) and parameter.powers_of_two:
        powers = [2.0**k for k in range(int(math.log2(low)), int(math.log2(high)) + 1)]
        numbers = powers[:: 1 + len(powers) // 6]
    elif parameter.log:
        numbers = list(LogLocator(numticks=5).tick_values(low, high))
        if sum(low <= number <= high for number in numbers) < 2:
            numbers = list(LogLocator(subs=(1, 2, 5), numticks=8).tick_values(low, high))
    else:
        numbers = list(MaxNLocator(3, integer=whole).tick_values(low, high))
    ticks = [(parameter.to_unit(n), f"{n:g}") for n in map(float, numbers) if low <= n <= high]
    if isinstance(parameter, FloatParameter) and parameter.zero:
        zero = parameter.to_unit(0.0)
        return [(zero, "0"), *(tick for tick in ticks if tick[0] > zero + 0.12)]
    return ticks


def _clean(axis: "Axes") -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("#bbbbbb")
    axis.tick_params(color="#bbbbbb", labelcolor=INK, labelsize=8, length=3)
    axis.margins(x=0.02)
    axis.grid(axis="y", color="#e9e9e9", linewidth=0.7)
    axis.set_axisbelow(True)


def _objective_label(facts: RunFacts) -> str:
    label = facts.objective_name
    if facts.forgetting_weight:
        sign = "−" if facts.maximize else "+"
        label += f" {sign} {facts.forgetting_weight:g} × forgetting"
    return f"{label}\n({facts.unit})" if facts.unit else label


def _varied(parameter: Parameter, trials: list[Trial]) -> bool:
    """Return whether the search tried more than one value."""
    name = parameter.name
    return len({s.hyperparameters.get(name) for t in trials for s in t.segments}) > 1
