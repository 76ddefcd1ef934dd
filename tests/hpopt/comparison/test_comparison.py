"""Comparisons from end to end: equal cost, paired studies, nothing done twice, all in MLflow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpopt import StudyError
from hpopt.comparison.compare import compare, open_comparison
from hpopt.comparison.contestants import Contestant, parse_contestants
from hpopt.comparison.reading import read_comparison, read_studies
from hpopt.comparison.settings import ComparisonSettings, read_settings
from hpopt.pool.budget import full_run_cost
from hpopt.settings.study import Settings
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.opening import begin
from hpopt_search_spaces import SearchSpace

EQUIVALENTS = 4
AGENTS = ("tpe", "tpe-cold", "ppo")


def settings_of(runs: Path, **more: Any) -> ComparisonSettings:
    asked = {
        "task": "simulated",
        "trial_tokens": 4 * 4096,
        "agents": AGENTS,
        "seeds": 2,
        "trials": EQUIVALENTS,
        "workers": 2,
        "name": "otters",
        "runs": str(runs),
    }
    return ComparisonSettings.of(asked | more)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparisonSettings, list[str]]:
    """A comparison on the simulated task that ran to its end, and the lines that it showed."""
    settings = settings_of(tmp_path_factory.mktemp("runs"))
    lines: list[str] = []
    result = compare(settings, open_comparison(settings), lines.append)
    assert result.tracking_error is None
    return settings, [*lines, *result.lines]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("tpe", Contestant("tpe", "tpe")),
        ("tpe-cold", Contestant("tpe-cold", "tpe", prior="none")),
        ("range-test", Contestant("range-test", "range-test")),
        ("gp+median", Contestant("gp+median", "gp", "median")),
        ("tpe@scheduled", Contestant("tpe@scheduled", "tpe", space="scheduled")),
        (
            "tpe-cold+hyperband@a.toml",
            Contestant("tpe-cold+hyperband@a.toml", "tpe", "hyperband", "none", "a.toml"),
        ),
    ],
)
def test_a_label_says_agent_prior_pruner_and_space(label: str, expected: Contestant) -> None:
    assert Contestant.parse(label) == expected


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["tpo"], "agent: there is no 'tpo' .*tpe"),
        (["tpe@a@b"], "agents: each must be AGENT.* but got 'tpe@a@b'"),
        (["ppo+median"], "pruner: must go with one of"),
        (["tpe", "gp", "tpe"], "agents: must be different, but 'tpe' is there twice"),
    ],
)
def test_what_is_no_label_is_refused_with_one_line(labels: list[str], line: str) -> None:
    with pytest.raises(StudyError, match=line) as refused:
        parse_contestants(labels)
    assert "\n" not in str(refused.value)


def test_the_default_alone_and_random_always_take_part() -> None:
    labels = [contestant.label for contestant in parse_contestants(["tpe", "random-cold"])]
    assert labels == ["tpe", "random-cold", "default"]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"against": "gp"}, "against: must be one of the agents, tpe, .* but got 'gp'"),
        ({"seeds": 0}, "seeds: must be a whole number of at least 1, but got 0"),
        ({"agent": "tpe"}, "agent: must be left out, since a comparison decides it"),
        ({"agents": ("portfolio", "tpe")}, "agents: portfolio needs more than one task"),
    ],
)
def test_settings_that_contradict_a_comparison_are_refused(
    values: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=line):
        open_comparison(settings_of(tmp_path, **values))
    assert not list(tmp_path.iterdir())


def test_every_searcher_may_spend_the_same_cost(
    compared: tuple[ComparisonSettings, list[str]],
) -> None:
    settings, _ = compared
    studies = read_studies(settings, "otters")
    assert len(studies) == 5 * 2
    for (_, searcher, _), history in studies.items():
        facts = history.facts
        whole = full_run_cost(facts, SearchSpace.from_dict(history.header["space"]))
        penalised = facts.trial_tokens * (1 + facts.penalty_cost)
        assert whole == penalised + facts.final_validation_cost  # the default's weight isn't 0
        spent = (history.search_cost - facts.setup_cost) / whole
        assert spent <= EQUIVALENTS * (1 + 1e-6)
        if searcher == "default":
            assert spent == pytest.approx(1.0)
        else:
            assert spent > EQUIVALENTS - 1.5  # less than the dearest trial stays unspent


def test_a_study_of_a_comparison_is_the_study_that_search_runs(
    compared: tuple[ComparisonSettings, list[str]], tmp_path: Path
) -> None:
    settings, _ = compared
    history = read_studies(settings, "otters")["simulated", "tpe-cold", 1]
    asked = Settings.of(
        {
            "task": "simulated",
            "trial_tokens": 4 * 4096,
            "agent": "tpe-cold",
            "cost": history.settings["cost"],
            "seed": 1,
            "confirm_seeds": 0,
            "runs": str(tmp_path),
        }
    )
    alone = conduct(begin(asked), Display())
    assert list(history.trials.values()) == alone.trials


def test_the_curves_are_the_best_of_the_journals(
    compared: tuple[ComparisonSettings, list[str]],
) -> None:
    settings, lines = compared
    studies = read_studies(settings, "otters")
    comparison = read_comparison(settings, "otters", studies)
    final = comparison.regrets(EQUIVALENTS)
    base = comparison.facts["simulated"].base_objective
    bests = {
        place: min(t.value for t in history.trials.values() if t.value is not None and t.can_win)
        for place, history in studies.items()
    }
    lowest = min(bests.values())
    for (task, searcher, seed), best in bests.items():
        place = comparison.searchers.index(searcher), comparison.tasks.index(task), seed
        assert final[place] == pytest.approx((min(best, base) - lowest) / (base - lowest))
    for searcher in comparison.searchers:
        own = [best for (_, who, _), best in bests.items() if who == searcher]
        assert comparison.best_values["simulated", searcher] == min(own)
        assert len(comparison.confirmed["simulated", searcher].values) == 2
    shown = [line.split()[0] for line in lines if line.split()[:1] and " 0." in line]
    assert {"tpe", "ppo", "random", "default"} <= set(shown)


def journals(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/journal.jsonl")}


def test_a_killed_comparison_goes_on_and_repeats_nothing(
    compared: tuple[ComparisonSettings, list[str]], tmp_path: Path
) -> None:
    settings, _ = compared
    arguments = "--task simulated --trial-tokens 16384 --agents tpe,tpe-cold,ppo --seeds 2"
    options = f"{arguments} --trials {EQUIVALENTS} --name otters --runs {tmp_path}".split()
    command = [sys.executable, "-m", "hpopt", "compare", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    folder = tmp_path / "otters"
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*/result.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.parent.name for path in folder.glob("*/result.json")}
    assert 3 <= len(done) < 10
    before = journals(folder)
    again = read_settings("otters", str(tmp_path))
    assert again is not None
    with pytest.raises(StudyError, match="name: must be new, but .* with other settings"):
        open_comparison(settings_of(tmp_path, seeds=3))
    compare(again, open_comparison(again), lambda text: None)
    after = journals(folder)
    assert all(after[name] == before[name] for name in done)
    verdicts = [
        json.loads((where / "verdict.json").read_text())
        for where in (folder, settings.folder("otters"))
    ]
    assert verdicts[0] == verdicts[1]


def test_mlflow_has_the_studies_under_one_tag_and_the_verdict(
    compared: tuple[ComparisonSettings, list[str]],
) -> None:
    from mlflow import MlflowClient

    settings, _ = compared
    client = MlflowClient(tracking_uri=settings.study.tracking.uri)
    experiment = client.get_experiment_by_name("otters")
    assert experiment is not None
    runs = client.search_runs(
        [experiment.experiment_id], "tags.`hpopt.comparison` = 'otters'", max_results=100
    )
    (confirmation,) = [r for r in runs if r.data.tags.get("hpopt.searcher") == "confirmation"]
    studies = [run for run in runs if "hpopt.study" in run.data.tags and run != confirmation]
    assert len(studies) == 10
    assert {run.data.tags["hpopt.searcher"] for run in studies} == {*AGENTS, "default", "random"}
    read = read_studies(settings, "otters")
    for run in studies:
        place = "simulated", run.data.tags["hpopt.searcher"], int(run.data.tags["hpopt.seed"])
        curve = client.get_metric_history(run.info.run_id, "best_value")
        values = sorted((metric.step, metric.value) for metric in curve)
        best = read[place].best
        assert best is not None
        assert values[-1][1] == pytest.approx(best.value)
    (verdict,) = [run for run in runs if run.data.tags.get("hpopt.verdict") == "true"]
    names = {artifact.path for artifact in client.list_artifacts(verdict.info.run_id)}
    assert {"verdict.json", "verdict.md"} <= names
    page = settings.folder("otters") / "report.html"
    assert verdict.data.tags["hpopt.report"] == str(page)
    assert page.is_file()
    assert "report.html" not in names


def test_mlflow_has_every_searcher_on_one_chart_and_its_studies_below(
    compared: tuple[ComparisonSettings, list[str]],
) -> None:
    from mlflow import MlflowClient

    settings, _ = compared
    client = MlflowClient(tracking_uri=settings.study.tracking.uri)
    experiment = client.get_experiment_by_name("otters")
    assert experiment is not None
    assert "normalised_regret" in experiment.tags["mlflow.note.content"]
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    parents = {run.info.run_id: run for run in runs if "hpopt.comparison_id" in run.data.tags}
    searchers = {run.info.run_name: run for run in parents.values()}
    assert set(searchers) == {*AGENTS, "default", "random", "verdict otters"}
    del searchers["verdict otters"]
    assert len({run.data.tags["mlflow.runColor"] for run in searchers.values()}) == 5
    comparison = read_comparison(settings, "otters", read_studies(settings, "otters"))
    final = comparison.regrets(EQUIVALENTS).mean(axis=(1, 2))
    for who, run in searchers.items():
        assert run.info.status == "FINISHED"
        for metric in ("normalised_regret", "best_so_far"):
            steps = [m.step for m in client.get_metric_history(run.info.run_id, metric)]
            assert steps == list(range(1, EQUIVALENTS + 1))
        place = comparison.searchers.index(who)
        assert run.data.metrics["normalised_regret"] == pytest.approx(final[place])
    studies = [run for run in runs if "hpopt.study_id" in run.data.tags]
    assert len(studies) == 11
    for study in studies:
        above = parents[study.data.tags["mlflow.parentRunId"]]
        who = study.data.tags["hpopt.searcher"]
        expected = "verdict otters" if who == "confirmation" else who
        assert above.info.run_name == expected
        assert study.info.status == "FINISHED"
    budgets = {s.data.params.get("budget") for s in studies} - {None}
    assert budgets == {f"{EQUIVALENTS} runs"}
    names = {name for run in runs for name in run.data.tags}
    assert not any(name.startswith(("unit.", "version.")) for name in names)
