"""Why a learned searcher chose what it did: its ramp, and the regrets that it expected."""

from typing import TYPE_CHECKING

from ...record.history import History
from .look import INK, SCALE, colour, dressed, title
from .page import paragraphs

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]


def why_lines(history: History) -> str:
    """Return what was said of each trial, as HTML."""
    chosen = history.chosen.items()
    return paragraphs([f"Trial {trial}: {said.get('text', 'not said')}." for trial, said in chosen])


def why(history: History) -> "Figure":
    """Return the ramp of the first trial over the regrets that were expected at the last choice.

    Some trial must have been chosen by regrets.
    """
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    first, last = (history.chosen[trial] for trial in (min(history.chosen), max(history.chosen)))
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.35, 0.65])
    for number, (name, told) in enumerate((("objective", "objective"), ("loss", "task loss"))):
        ramp = {"name": f"ramp, {told}", "mode": "lines+markers", "line": {"color": colour(number)}}
        figure.add_scatter(x=first["rates"], y=first[name], row=1, col=1, **ramp)
    named = [
        f"β {row['divergence_weight']:g}, batch {row['batch_size']}" for row in last["expected"]
    ]
    figure.add_heatmap(
        x=last["rates"],
        y=named,
        z=[row["regret"] for row in last["expected"]],
        zmin=0,
        zmax=1,
        colorscale=f"{SCALE}_r",
        colorbar={"title": "regret", "len": 0.6, "y": 0.3},
        row=2,
        col=1,
    )
    chosen = [(trial, said) for trial, said in history.chosen.items() if "row" in said]
    figure.add_scatter(
        x=[said["learning_rate"] for _, said in chosen],
        y=[named[said["row"]] for _, said in chosen],
        text=[str(trial) for trial, _ in chosen],
        mode="markers+text",
        name="trial",
        textfont={"color": "white", "size": 11},
        marker={"color": INK, "size": 19},
        row=2,
        col=1,
    )
    figure.update_xaxes(type="log", row=1, col=1)
    figure.update_xaxes(type="log", title_text=title("learning_rate"), row=2, col=1)
    figure.update_yaxes(title_text="nats, on the probe", row=1, col=1)
    return dressed(figure, height=560)
