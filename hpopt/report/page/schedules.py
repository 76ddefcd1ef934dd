"""The best trials' schedules over training tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpopt_envs.records import RunFacts, Trial
from hpopt_search_spaces import SearchSpace

from ...record.history import History
from . import look
from .tried import best_first, resolved_space, shown_value

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

SCHEDULES = 5  # best trials whose schedules are drawn


def schedules(history: History) -> "Figure | str":
    """Return the best trials' hyperparameters over the tokens of their paths, a step a segment."""
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    trials, space = best_first(history)[:SCHEDULES], resolved_space(history)
    names = [p.name for p in space.parameters if p.dynamic and _is_drawn(p.name, trials)]
    if not names:
        return "no trial that could win was given a hyperparameter that may change inside a trial"
    figure = make_subplots(rows=len(names), shared_xaxes=True, vertical_spacing=0.06)
    for row, name in enumerate(names, 1):
        for index, trial in enumerate(trials):
            figure.add_trace(
                _steps(space, name, trial, index, history.facts, legend=row == 1), row=row, col=1
            )
        figure.update_yaxes(look.axis(space, name) | {"title": look.title(name)}, row=row, col=1)
    figure.update_xaxes(title="training tokens", row=len(names), col=1)
    figure.update_xaxes(rangemode="tozero", tickformat="~s")
    return look.dressed(figure, 110 + 190 * len(names), hovermode="closest")


def _is_drawn(name: str, trials: Sequence[Trial]) -> bool:
    return any(name in segment.hyperparameters for trial in trials for segment in trial.path)


def _steps(
    space: SearchSpace, name: str, trial: Trial, index: int, facts: RunFacts, legend: bool
) -> Any:
    """Return a trial's path as a line: each value from its segment's begin; gaps where inactive."""
    from plotly.graph_objects import Scatter

    path = trial.path
    values = [segment.hyperparameters.get(name) for segment in path]
    begins = [0, *(segment.training_tokens for segment in path[:-1])]
    heights = [None if v is None else look.placed(space, name, [v])[0] for v in values]
    return Scatter(
        x=[*begins, path[-1].training_tokens],
        y=[*heights, heights[-1]],
        customdata=[*values, values[-1]],
        mode="lines",
        line={"shape": "hv", "width": 3.2 if index == 0 else 1.8, "color": look.colour(index)},
        name=f"trial {trial.id}: {look.number(shown_value(facts, trial))}",
        legendgroup=str(trial.id),
        showlegend=legend,
        hovertemplate=(
            f"trial {trial.id}<br>{name.replace('_', ' ')} %{{customdata:.4~g}}"
            "<br>from %{x:,} tokens<extra></extra>"
        ),
    )
