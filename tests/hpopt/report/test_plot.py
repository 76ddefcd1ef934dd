"""The plot of a search says what its history says, and can be drawn at any time."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpopt.record.history import FIRST_TEST, History
from hpopt.report.plot import search_figure
from tests.hpopt.searching import resume, search


def history_of(events: list[dict[str, Any]]) -> History:
    history = History()
    for event in events:
        history.apply({"name": "otter", **event})
    return history


def test_the_line_is_the_best_so_far(every_ending: list[dict[str, Any]]) -> None:
    history = history_of(every_ending)
    figure = search_figure(history)
    (best,) = [line for line in figure.axes[0].lines if line.get_label() == "best so far"]
    assert np.asarray(best.get_ydata()).tolist() == [3.0, 2.5, 2.5]
    assert np.asarray(best.get_xdata()).tolist() == [11000.5, history.cost, history.cost]


def test_every_kind_of_trial_is_in_the_legend(every_ending: list[dict[str, Any]]) -> None:
    legend = search_figure(history_of(every_ending)).axes[0].get_legend()
    assert legend is not None
    shown = {text.get_text() for text in legend.get_texts()}
    assert {"trial", "stopped early", "exploded or failed", "base model"} <= shown


def test_a_trial_over_the_limit_on_divergence_is_shown_as_such(
    new_script: Callable[..., Any],
) -> None:
    script = new_script(max_divergence=0.5)
    script.trial(0, 3.0, divergence=0.5)
    script.trial(1, 2.5, divergence=0.75)
    top = search_figure(history_of(script.events)).axes[0]
    placed = {str(c.get_label()): np.asarray(c.get_offsets()).tolist() for c in top.collections}
    assert [y for _, y in placed["trial"]] == [3.0]
    assert [y for _, y in placed["over the limit"]] == [2.5]


def test_a_strip_is_drawn_for_each_hyperparameter_that_varied(
    new_script: Callable[..., Any],
) -> None:
    script = new_script()
    script.trial(0, 3.5)
    script.trial(1, 3.0)  # the script moves all but the batch size
    labels = [axis.get_ylabel() for axis in search_figure(history_of(script.events)).axes]
    assert "learning\nrate" in labels
    assert "batch\nsize" not in labels


def test_what_is_maximised_goes_up(new_script: Callable[..., Any]) -> None:
    script = new_script(maximize=True)
    script.trial(0, -0.5)
    script.trial(1, -0.75)
    figure = search_figure(history_of(script.events))
    (best,) = [line for line in figure.axes[0].lines if line.get_label() == "best so far"]
    assert np.asarray(best.get_ydata()).tolist() == [0.5, 0.75, 0.75]


@pytest.mark.parametrize("cut", range(0, 20, 3))
def test_a_study_can_be_drawn_at_any_time(cut: int, every_ending: list[dict[str, Any]]) -> None:
    image = io.BytesIO()
    search_figure(history_of(every_ending[: 1 + cut])).savefig(image)
    assert image.getvalue().startswith(b"\x89PNG")


def test_an_extended_study_is_shown_to_its_last_trial(tmp_path: Path) -> None:
    search(tmp_path, trials=2)
    history = resume(tmp_path, trials=5).history
    last = max(t.segments[-1].study_cost for n, t in history.trials.items() if n < FIRST_TEST)
    assert last > history.search_cost  # the confirmation before the extension lies between
    assert search_figure(history).axes[0].get_xlim()[1] > last
