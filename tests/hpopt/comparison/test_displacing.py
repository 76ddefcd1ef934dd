"""Comparisons whose blocks begin elsewhere than at the default that was fitted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest  # type: ignore[import-untyped]

from hpopt.comparison.compare import compare, open_comparison
from hpopt.comparison.displacing import displacement
from hpopt.comparison.reading import Studies, read_comparison, read_studies
from hpopt.comparison.settings import ComparisonSettings, read_settings
from hpopt.errors import StudyError
from hpopt.record.folders import MANIFEST
from hpopt_envs.factory import make_env
from hpopt_search_spaces import SearchSpace
from tests.hpopt.searching import events_of, killed, outcome, resume, search

SPREAD = 2.0
SAID = "Default and range of the learning rate are displaced by a normal draw, of standard "


def settings_of(runs: Path, **more: Any) -> ComparisonSettings:
    asked = {"task": "simulated,nano:markov", "agents": ("tpe", "hold"), "seeds": 2, "trials": 2}
    asked |= {"name": "otters", "runs": str(runs), "confirm_seeds": 1, "displace": SPREAD}
    return ComparisonSettings.of({**asked, **more})


@pytest.fixture(scope="module")
def compared(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ComparisonSettings, Studies, list[str]]:
    """A displaced comparison that ran to its end, its studies, and the lines that it showed."""
    settings, lines = settings_of(tmp_path_factory.mktemp("runs")), []
    result = compare(settings, open_comparison(settings), lines.append)
    assert result.tracking_error is None
    return settings, read_studies(settings, "otters"), [*lines, *result.lines]


def rate_of(space: SearchSpace) -> tuple[float, ...]:
    """Low, default and high of a space's learning rate."""
    rate = space["learning_rate"]
    return (*rate.native_range, float(rate.default))


def test_draws_are_normal_and_grow_with_the_spread() -> None:
    draws = [displacement(1.0, f"task {t}", s) for t in range(50) for s in range(40)]
    assert kstest(draws, "norm").pvalue > 0.01
    assert len(set(draws)) > 1900
    twice = [displacement(2.0, f"task {t}", s) for t in range(50) for s in range(40)]
    assert twice == pytest.approx(2.0 * np.array(draws), abs=2e-4)
    assert displacement(0.0, "lm", 3) == 0.0


def test_all_searchers_of_a_block_begin_at_the_same_place_and_blocks_elsewhere(
    compared: tuple[ComparisonSettings, Studies, list[str]],
) -> None:
    settings, studies, _ = compared
    assert len(studies) == 2 * 4 * 2
    fitted = {task: rate_of(make_env(task).space) for task in settings.tasks}
    moved = set()
    for (task, searcher, seed), history in studies.items():
        octaves = history.settings["displacement"]
        assert octaves == displacement(SPREAD, task, seed) != 0.0
        moved.add((task, seed, octaves))
        space = SearchSpace.from_dict(history.header["space"])
        expected = [2.0**octaves * end for end in fitted[task]]
        assert rate_of(space) == pytest.approx(expected, rel=1e-5)
        first = next(iter(history.trials.values())).segments[0].hyperparameters
        if searcher != "random":  # which has the default first too
            assert first["learning_rate"] == space.defaults()["learning_rate"]
    assert len({octaves for _, _, octaves in moved}) == len(moved) == 4


def test_regret_is_against_the_best_of_all_blocks_of_a_task(
    compared: tuple[ComparisonSettings, Studies, list[str]],
) -> None:
    settings, studies, _ = compared
    comparison = read_comparison(settings, "otters", studies)
    regrets = comparison.regrets(2)
    for column, task in enumerate(settings.tasks):
        own = [history for (of, _, _), history in studies.items() if of == task]
        assert len({history.facts.base_objective for history in own}) == 1
        assert min(regrets[:, column].ravel()) == 0.0
        best = min(h.best.value for h in own if h.best is not None and h.best.value is not None)
        assert comparison.best_known(task) == min(best, own[0].facts.base_objective)


def test_whoever_reads_it_is_told(
    compared: tuple[ComparisonSettings, Studies, list[str]],
) -> None:
    from mlflow import MlflowClient

    settings, _, lines = compared
    folder = settings.folder("otters")
    assert any(line.startswith(f"{SAID}deviation 2 octaves") for line in lines)
    for task in settings.tasks:
        draws = [f"{displacement(SPREAD, task, seed):+.2f}" for seed in (0, 1)]
        told = f"learning rates on {task} displaced by {', '.join(draws)} octaves"
        assert told in lines
    assert (folder / "verdict.md").read_text().startswith(SAID)
    assert json.loads((folder / "verdict.json").read_text())["displace"] == SPREAD
    page = (folder / "report.html").read_text()
    assert page.count(SAID) == 2
    assert "otters: tpe, hold, default, random, learning rates displaced" in page
    assert "displaced (octaves)" in page
    client = MlflowClient(tracking_uri=settings.study.tracking.uri)
    experiment = client.get_experiment_by_name("otters")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    shown = [run for run in runs if "hpopt.comparison_id" in run.data.tags]
    assert len(shown) == 5
    assert all(SAID in run.data.tags["mlflow.note.content"] for run in shown)
    params = {run.data.params.get("displacement") for run in runs} - {None}
    assert {str(displacement(SPREAD, "nano:markov", seed)) for seed in (0, 1)} <= params


def test_another_spread_is_another_comparison(
    compared: tuple[ComparisonSettings, Studies, list[str]],
) -> None:
    settings, _, _ = compared
    runs = settings.study.tracking.runs
    with pytest.raises(StudyError, match="name: must be new, but .* with other settings"):
        open_comparison(settings_of(Path(runs), displace=1.0))
    again = read_settings("otters", runs)
    assert again == settings
    assert open_comparison(settings) == "otters"


def test_a_comparison_of_before_there_were_any_goes_on(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, displace=0.0)
    open_comparison(settings)
    manifest = tmp_path / "otters" / MANIFEST
    told = json.loads(manifest.read_text())
    del told["displace"], told["study"]["displacement"]
    manifest.write_text(json.dumps(told))
    assert open_comparison(settings) == "otters"
    with pytest.raises(StudyError, match="with other settings"):
        open_comparison(settings_of(tmp_path))


@pytest.mark.parametrize("agent", ["range-test", "ppo", "tpe"])
def test_a_displaced_study_resumes_by_itself(agent: str, tmp_path: Path) -> None:
    said = {"agent": agent, "displacement": 1.5, "confirm_seeds": 1}
    whole = search(tmp_path / "whole", **said)
    killed(tmp_path / "killed", len(events_of(whole)) // 3, **said)
    resumed = resume(tmp_path / "killed")
    assert resumed.space == whole.space
    assert outcome(resumed) == outcome(whole)


RATELESS = "[parameters.batch_size]\ntype = 'choice'\nchoices = [4, 8]\ndefault = 4\n"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"displace": -1}, "displace: must be a number of at least 0, but got -1"),
        ({"displace": 1e9}, "displace: must be 30 octaves at most, either way, but got .*"),
        ({"fix": {"learning_rate": 1e-3}}, "displace: must be left out where learning_rate is .*"),
        ({"space": "own.toml"}, "displace: must go with a space that has a learning_rate .*"),
        ({"agents": ("tpe", "gp@own.toml")}, "displace: must go with a space that has .*"),
        ({"task": "table:own.csv"}, "displace: must be left out for finished runs, but got .*"),
        ({"displacement": 1.0}, "displacement: must be left out, since a comparison decides it"),
    ],
)
def test_what_cannot_be_displaced_is_refused_before_anything_is_made(
    more: dict[str, Any], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(RATELESS)
    (tmp_path / "own.csv").write_text("task,learning_rate,loss\na,0.1,2\na,0.2,3\n")
    with pytest.raises(StudyError, match=f"^{line}$"):
        open_comparison(settings_of(tmp_path / "runs", **more))
    assert not (tmp_path / "runs").exists()
