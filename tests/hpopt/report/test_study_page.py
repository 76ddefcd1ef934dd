"""The report of a study: a page that says what the journal says, and needs no network."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from hpopt.pool.metered import MeteredPool
from hpopt.record.history import History
from hpopt.report.page.files import self_contained
from hpopt.report.page.study import study_figures, write_study_report
from hpopt.report.page.trade import pareto_front
from tests.hpopt.searching import make_searcher

HOSTILE = "</script><img src=x onerror=alert(1)><b>"
FIGURES = {
    "best_so_far",
    "schedules",
    "importance",
    "parallel_coordinates",
    "slices",
    "contour",
    "trade",
}


def history_of(events: list[dict[str, Any]], name: str = "otter") -> History:
    history = History()
    for event in events:
        history.apply({"name": name, **event})
    return history


class Tags(HTMLParser):
    """Collects tags, what they refer to, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.ids: set[str] = set()
        self.references: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given["id"]} if "id" in given else set()
        self.references += [v for n, v in given.items() if n in ("src", "href", "action", "data")]
        self.scripts += [given["src"]] if tag == "script" and "src" in given else []

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.text += data


def read(history: History, result: dict[str, Any] | None, folder: Path) -> Tags:
    return Tags(write_study_report(history, result, placed(folder, "otter")).read_text())


def placed(runs: Path, study: str) -> Path:
    """Where a study's page is."""
    (runs / study).mkdir(parents=True, exist_ok=True)
    return runs / study / "report.html"


@pytest.fixture
def searched(make_pool: Callable[..., MeteredPool]) -> Callable[..., History]:
    """A real search on the simulated task."""

    def search(agent: str, trials: int, **settings: Any) -> History:
        pool = make_pool(agent, trials=trials, **settings)
        make_searcher(agent, "none", trials=trials, seed=0, prior="default").search(pool)
        history = pool.history
        history.header |= {"name": "otter", "task": "simulated", "agent": agent, "seed": 0}
        history.header |= {"pruner": "none", "space": pool.space.to_dict()}
        return history

    return search


def test_a_search_has_every_figure(searched: Callable[..., History]) -> None:
    assert set(study_figures(searched("tpe", 16))) == FIGURES


def test_an_agents_search_under_a_limit_has_every_figure(searched: Callable[..., History]) -> None:
    assert set(study_figures(searched("ppo", 16, max_divergence=0.1))) == FIGURES


def test_nothing_on_the_page_comes_from_outside_the_runs_folder(
    every_ending: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = write_study_report(history_of(every_ending), None, placed(tmp_path, "otter"))
    tags = Tags(path.read_text())
    (script,) = tags.scripts
    assert (path.parent / script).resolve().parent == tmp_path
    for reference in tags.references:
        assert reference in ("data:,", script) or reference.removeprefix("#") in tags.ids
    assert not {"img", "iframe", "object", "embed", "form", "base"} & set(tags.names)
    assert '"showSendToCloud": false' in path.read_text()


def test_the_pages_of_a_runs_folder_share_one_script(
    every_ending: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, runs = history_of(every_ending), tmp_path / "runs"
    compared = placed(runs, "otters/lm.tpe.0")
    (runs / "otters" / "comparison.json").write_text("{}")
    pages = [placed(runs, "otter"), compared]
    monkeypatch.chdir(runs / "otters")
    for page in (*pages, Path("lm.tpe.0/report.html")):
        text = write_study_report(history, None, page).read_text()
        (script,) = Tags(text).scripts
        (there,) = tmp_path.rglob("plotly-*")
        assert there.parent == runs
        assert (page.parent / script).resolve() == there
        assert get_plotlyjs() == there.read_text(encoding="utf-8")
        assert len(text) < 100_000


def test_a_page_for_people_elsewhere_holds_its_script(
    every_ending: list[dict[str, Any]], tmp_path: Path
) -> None:
    page = write_study_report(history_of(every_ending, "a\\1"), None, placed(tmp_path, "otter"))
    text = self_contained(page)
    assert Tags(text).scripts == []
    assert f"<script>{get_plotlyjs()}</script>" in text
    assert Tags(text).text == Tags(page.read_text()).text


def test_foreign_text_is_escaped(new_script: Callable[..., Any], tmp_path: Path) -> None:
    script = new_script(task=HOSTILE, model=HOSTILE, unit=HOSTILE)
    script.trial(0, 3.5, 3.0)
    script.start(1)
    script.segment(1, 0, None, outcome="exploded", reason=HOSTILE)
    script.final({"default": (3.0, HOSTILE), "trial 0": (3.0, 3.1)})
    tags = read(history_of(script.events, HOSTILE), {}, tmp_path)
    assert HOSTILE in tags.text
    assert not {"img", "b"} & set(tags.names)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 6, 9, 12, 99])
def test_a_study_has_a_page_at_any_time(
    cut: int, every_ending: list[dict[str, Any]], tmp_path: Path
) -> None:
    tags = read(history_of(every_ending[: 1 + cut]), None, tmp_path)
    assert "This study has no result yet" in tags.text


def test_what_cannot_be_drawn_is_left_out_with_a_reason(
    new_script: Callable[..., Any], tmp_path: Path
) -> None:
    script = new_script()
    script.trial(0, 3.5, 3.0)
    history = history_of(script.events)
    assert set(study_figures(history)) == {"best_so_far", "schedules"}
    text = read(history, None, tmp_path).text
    assert text.count("Not drawn:") == 5
    assert text.count("Not drawn: it needs 10 trials") == 2  # what mattered, and the most of it


def test_every_ending_is_told_and_drawn(every_ending: list[dict[str, Any]], tmp_path: Path) -> None:
    history = history_of(every_ending)
    drawn = {trace.name for trace in study_figures(history)["best_so_far"].data}
    assert {"trial", "stopped by the pruner", "exploded", "out of memory"} <= drawn
    text = read(history, None, tmp_path).text
    assert "5 trials ended, among them 1 stopped by the pruner, 1 exploded, 1 out of memory" in text
    assert "The winner, trial 4, came to 2.5 nats/token" in text


def test_the_line_is_the_best_so_far_as_the_user_knows_it(new_script: Callable[..., Any]) -> None:
    script = new_script(maximize=True)
    script.trial(0, -0.5)
    script.trial(1, -0.25)
    script.trial(2, -0.75)
    history = history_of(script.events)
    (line,) = [
        trace
        for trace in study_figures(history)["best_so_far"].data
        if trace.name.startswith("best so far")
    ]
    assert list(line.y) == [0.5, 0.75, 0.75]
    assert list(line.x) == [i.cost for i in history.improvements] + [history.search_cost]


def test_schedules_are_those_of_the_journal(searched: Callable[..., History]) -> None:
    history = searched("ppo", 8)
    ranked = sorted(
        (t for t in history.trials.values() if t.can_win and t.value is not None),
        key=lambda trial: trial.value or 0.0,
    )
    traces = study_figures(history)["schedules"].data
    names = ("learning_rate", "batch_size", "divergence_weight")
    assert len(traces) == 3 * 5
    for row, name in enumerate(names):
        for trial, trace in zip(ranked[:5], traces[5 * row : 5 * row + 5], strict=True):
            values = [s.hyperparameters[name] for s in trial.path]
            begins = [s.training_tokens - s.tokens for s in trial.path]
            assert trace.line.shape == "hv"
            assert list(trace.customdata) == [*values, values[-1]]
            assert list(trace.x) == [*begins, trial.path[-1].training_tokens]
            shown = [y for y, v in zip(trace.y, values, strict=False) if v != 0]
            assert shown == [v for v in values if v != 0]


def test_a_schedule_leaves_out_what_was_rolled_back(new_script: Callable[..., Any]) -> None:
    script = new_script()
    script.start(0)
    script.segment(0, 0, 3.5)
    script.segment(0, 1, 3.75)
    script.segment(0, 2, 3.0, outcome="completed", value=3.0)
    segment = script.events[-1]["reply"]["segment"]
    segment |= {"parent": 0, "training_tokens": 8192}
    history = history_of(script.events)
    trace = study_figures(history)["schedules"].data[0]
    assert list(trace.x) == [0, 4096, 8192]


@pytest.mark.parametrize("seed", range(5))
def test_the_pareto_front_is_what_nothing_dominates(seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 6, (60, 3)).astype(float)
    expected = [
        not any(
            all(q[i] <= p[i] for i in range(3)) and any(q[i] < p[i] for i in range(3))
            for q in points
        )
        for p in points
    ]
    assert pareto_front(points).tolist() == expected


def test_the_trade_marks_the_front_of_quality_divergence_and_cost(
    new_script: Callable[..., Any],
) -> None:
    script = new_script()
    script.trial(0, 3.0, divergence=0.2)
    script.trial(1, 2.5, divergence=0.3)
    script.trial(2, 3.0, divergence=0.3)  # as dear as the others, and worse than both
    traces = study_figures(history_of(script.events))["trade"].data
    front = [trace for trace in traces if trace.marker.size == 13 and trace.showlegend is False]
    assert [(x, y) for t in front for x, y in zip(t.x, t.y, strict=True)] == [(0.2, 3), (0.3, 2.5)]


def test_a_winner_no_better_than_the_base_is_warned_of_and_the_default_recommended(
    new_script: Callable[..., Any], tmp_path: Path
) -> None:
    script = new_script()
    script.trial(0, 4.25)
    script.final({"default": (4.0, 4.1), "trial 0": (4.2, 4.3)})
    text = read(history_of(script.events), {}, tmp_path).text
    assert "The winner is no better than the base model on validation." in text
    assert "The default is better than trial 0 by 0.2000" in text
    assert "4.3 ± 0.071" in text  # of the default, on test
    assert "4.5 ± 0.071" not in text  # of the winner, which isn't shown


def test_no_trial_within_the_limit_is_warned_of(
    new_script: Callable[..., Any], tmp_path: Path
) -> None:
    script = new_script(max_divergence=0.5)
    script.trial(0, 3.0, divergence=0.75)
    text = read(history_of(script.events), {}, tmp_path).text
    assert "No trial kept the limit on divergence, 0.5 nats." in text
    assert "over the limit on divergence" in {
        t.name for t in study_figures(history_of(script.events))["best_so_far"].data
    }


def test_figures_can_be_written_as_json(every_ending: list[dict[str, Any]]) -> None:
    for figure in study_figures(history_of(every_ending)).values():
        assert json.loads(figure.to_json())["data"]


def test_conditional_hyperparameters_and_choices_are_drawn(
    searched: Callable[..., History], tmp_path: Path
) -> None:
    history = searched("random", 16, space="full")
    assert set(study_figures(history)) == FIGURES
    text = read(history, None, tmp_path).text
    assert "weight decay" in text
