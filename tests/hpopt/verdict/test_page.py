"""The report of a comparison: its verdict first, curves that agree with the table, all escaped."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import trim_mean  # type: ignore[import-untyped]

from hpopt.record.history import History
from hpopt.record.judged import Judged
from hpopt.verdict.judging import judge
from hpopt.verdict.outcome import Comparison, Curve, grid
from hpopt.verdict.page import comparison_figures, write_comparison_report
from hpopt.verdict.tables import markdown, to_json
from hpopt_envs.records import RunFacts

TASKS, SEARCHERS, SEEDS = ("lm", "<i>table</i>"), ("tpe", "ppo", "random"), (0, 1, 2)


@pytest.fixture
def comparison(facts: RunFacts) -> Comparison:
    """Two tasks, the second maximised; ppo's last study is missing."""
    generator = np.random.default_rng(0)
    curves = {}
    for task in TASKS:
        for searcher in SEARCHERS:
            for seed in SEEDS:
                steps = np.cumsum(generator.uniform(0.2, 1.0, 8))
                found = 4.0 - np.cumsum(generator.uniform(0.05, 0.3, 8))
                kept = steps <= 5
                curves[task, searcher, seed] = Curve(
                    tuple(steps[kept].tolist()), tuple(found[kept].tolist()), 8
                )
    del curves["lm", "ppo", 2]
    return Comparison(
        name="first & real",
        tasks=TASKS,
        searchers=SEARCHERS,
        seeds=SEEDS,
        against="tpe",
        equivalents=5,
        facts={"lm": facts, TASKS[1]: replace(facts, maximize=True, unit="")},
        curves=curves,
        confirmed={("lm", "tpe"): Judged((2.5, 2.75), ({}, {}), ("it <b>died</b>",))},
        best_values={("lm", "tpe"): 2.5},
    )


def verdict_of(comparison: Comparison) -> Mapping[str, Any]:
    return to_json(judge(comparison, np.random.default_rng(0)))


def test_curves_are_the_interquartile_means_of_the_regrets(comparison: Comparison) -> None:
    lines = {t.name: t for t in comparison_figures(comparison)["regret"].data if t.name}
    assert set(lines) == set(SEARCHERS)
    for row, searcher in enumerate(SEARCHERS):
        at = dict(zip(lines[searcher].x, lines[searcher].y, strict=True))
        for checkpoint in comparison.checkpoints:
            regrets = comparison.regrets(checkpoint)[row].ravel()
            expected = trim_mean(regrets[~np.isnan(regrets)], 0.25)
            assert at[checkpoint] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("equivalents", "later"), [(20, ()), (60, (50,)), (200, (50, 100)), (400, (50, 100, 200))]
)
def test_checkpoints_go_on_as_far_as_the_budget(
    equivalents: int, later: tuple[int, ...], comparison: Comparison
) -> None:
    long = replace(comparison, equivalents=equivalents)
    early = (1, 2, 3, 5, 8, 10, 20)
    expected = tuple(dict.fromkeys([*early, *later, equivalents]))
    verdict = judge(long, np.random.default_rng(0))
    assert verdict.checkpoints == expected
    head = ["searcher", "regret at 1", *map(str, expected[1:]), "rank"]
    assert [cell.strip() for cell in markdown(verdict).split("|")[1 : len(head) + 1]] == head
    figure = comparison_figures(long)["regret"]
    line = next(trace for trace in figure.data if trace.name == "tpe")
    assert set(expected) <= set(line.x)
    assert max(line.x) == equivalents
    on_log = figure.layout.xaxis.type == "log"
    assert on_log == (equivalents > 20)
    assert min(line.x) == (1 if on_log else 0)
    assert list(grid(long)["full_run_equivalents"]) == list(range(1, equivalents + 1))


def test_a_band_lies_around_its_line(comparison: Comparison) -> None:
    figure = comparison_figures(comparison)["regret"]
    for searcher in SEARCHERS:
        low, high, line = [t for t in figure.data if t.legendgroup == searcher]
        assert (np.asarray(low.y) <= np.asarray(line.y) + 1e-12).all()
        assert (np.asarray(line.y) <= np.asarray(high.y) + 1e-12).all()
        assert high.fill == "tonexty"


def test_a_task_is_drawn_in_its_own_direction_from_the_base_model_on(
    comparison: Comparison,
) -> None:
    traces = comparison_figures(comparison)["best_so_far"].data
    assert len(traces) == len(TASKS) * len(SEARCHERS)
    for trace, task in zip(traces, np.repeat(TASKS, len(SEARCHERS)), strict=True):
        sign = 1 if task == "lm" else -1
        ends = [
            min(4.0, *c.values)
            for (t, s, _), c in comparison.curves.items()
            if (t, s) == (task, trace.name)
        ]
        assert trace.y[0] == sign * 4.0
        assert trace.y[-1] == pytest.approx(sign * np.mean(ends))


def placed(runs: Path) -> Path:
    """Where a comparison's page is."""
    (runs / "otters").mkdir()
    return runs / "otters" / "report.html"


def test_the_page_has_the_verdict_the_studies_and_what_is_missing(
    comparison: Comparison, every_ending: list[dict[str, Any]], tmp_path: Path
) -> None:
    history = History()
    for event in every_ending:
        history.apply({"name": "otter", **event})
    verdict = verdict_of(comparison)
    studies = {place: history for place in comparison.curves}
    path = write_comparison_report(comparison, verdict, studies, placed(tmp_path))
    page = path.read_text()
    body = page[page.index("<body>") :]
    sentences = [row["sentence"] for row in verdict["rows"] if row["searcher"] != "tpe"]
    assert len(sentences) == 2
    for sentence in sentences:
        assert 0 < body.index(sentence.replace("'", "&#x27;")) < body.index("<nav>")
    assert "1 of 18 studies" in body
    assert body.count("<th>otter</th>") == 17
    assert "2 (1 failed)" in body
    assert "&lt;i&gt;table&lt;/i&gt;" in body
    assert "<i>" not in body


def test_one_seed_and_nothing_confirmed_give_a_page(comparison: Comparison, tmp_path: Path) -> None:
    one = replace(
        comparison,
        seeds=(0,),
        curves={place: c for place, c in comparison.curves.items() if place[2] == 0},
        confirmed={},
    )
    path = write_comparison_report(one, verdict_of(one), {}, placed(tmp_path))
    assert "Not drawn: nothing has been confirmed." in path.read_text()


def test_a_searcher_without_a_finished_study_is_left_out(
    comparison: Comparison, tmp_path: Path
) -> None:
    without = replace(
        comparison, curves={p: c for p, c in comparison.curves.items() if p[1] != "ppo"}
    )
    drawn = {trace.legendgroup for trace in comparison_figures(without)["regret"].data}
    assert drawn == {"tpe", "random"}
    write_comparison_report(without, verdict_of(without), {}, placed(tmp_path))
