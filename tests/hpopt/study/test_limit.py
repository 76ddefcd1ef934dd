"""A limit on divergence: who wins, what searchers are told, and what a study comes to."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from hpopt.cli.entry import main
from hpopt.pool.budget import Budget, Limits
from hpopt.pool.metered import MeteredPool
from hpopt.record.history import History
from hpopt.searchers.base import SearchPlan
from hpopt.searchers.driver import drive
from hpopt.searchers.optuna_proposer import OptunaProposer
from hpopt.searchers.registry import AGENTS
from hpopt.study.opening import begin, take_up
from hpopt.study.result import StudyResult
from hpopt.tracking import rows
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Outcome, RunFacts, Trial
from hpopt_envs.training_run import Evaluation
from hpopt_search_spaces import load_space
from tests.hpopt.asking import asked
from tests.hpopt.searching import make_searcher, run

MakePool = Callable[..., MeteredPool]
LIMIT = 0.25
CONSTRAINED = ("tpe", "gp", "nsga2")


def divergence(trial: Trial) -> float:
    return trial.segments[-1].metrics["divergence"]


def folded(script: Any) -> History:
    history = History()
    for event in script.events:
        history.apply(event)
    return history


ENDS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0.0, 0.25, 0.3, 1.0])), max_size=8)


@given(ENDS)
def test_the_winner_is_the_best_trial_that_keeps_the_limit(
    new_script: Callable[..., Any], ends: list[tuple[int, float]]
) -> None:
    script = new_script(max_divergence=LIMIT)
    for trial, (value, reached) in enumerate(ends):
        script.trial(trial, 9.5, float(value), divergence=reached)
    history = folded(script)
    within = {trial: end[0] for trial, end in enumerate(ends) if end[1] <= LIMIT}
    best = history.best
    assert (best and best.id) == min(within, key=lambda trial: within[trial], default=None)
    values = list(within.values())
    lowered = [v for i, v in enumerate(values) if v < min(values[:i], default=math.inf)]
    assert [better.value for better in history.improvements] == lowered


def test_a_rank_counts_what_the_limit_is_exceeded_by(new_script: Callable[..., Any]) -> None:
    script = new_script(max_divergence=LIMIT)
    script.trial(0, 2.0, divergence=LIMIT)
    script.trial(1, 1.0, divergence=3 * LIMIT)  # v = 3
    script.trial(2, 1.5, divergence=2 * LIMIT)  # v = 2.5
    script.start(3)
    script.segment(3, 0, 1.75, 1.9 * LIMIT)  # v = 2.65
    history = folded(script)
    assert history.rank(history.trials[3]) == 2 / 3


@pytest.mark.parametrize(("reached", "goes_on"), [(LIMIT, False), (1.01 * LIMIT, True)])
def test_a_target_is_reached_within_the_limit_alone(
    new_script: Callable[..., Any], facts: RunFacts, reached: float, goes_on: bool
) -> None:
    script = new_script(max_divergence=LIMIT)
    script.trial(0, 3.0, 1.0, divergence=reached)
    budget = Budget(Limits(trials=9, target=2.0), facts, False)
    assert budget.allows(folded(script)) is goes_on


@pytest.mark.parametrize(
    ("agent", "pruner"),
    [
        *((agent, "none") for agent in (*CONSTRAINED, "cmaes", "qmc")),
        *((agent, "median") for agent in (*CONSTRAINED, "random")),
    ],
)
def test_what_a_sampler_is_told(agent: str, pruner: str, make_pool: MakePool) -> None:
    """Optuna's own best trial is ours, and what explodes is as bad as what is worst."""
    wild = {"learning_rate": 0.004}  # the range goes around it, and into what explodes
    space = load_space("default").with_defaults(wild).to_dict()
    pool = make_pool(agent, pruner, trials=6, seed=17, max_divergence=LIMIT, space=space)
    proposer = OptunaProposer(pool.space, SearchPlan(agent, pruner, 6, 17, "default"), pool.facts)
    drive(proposer, pool)
    told = proposer.study.get_trials(deepcopy=False)
    assert len(told) == len(pool.trials)
    values, excesses, kinds = [], [LIMIT], set()
    for ours, theirs in zip(pool.trials, told, strict=True):
        if ours.outcome is Outcome.EXPLODED:
            value, excess = max(values, default=pool.facts.base_objective), max(excesses)
            assert excess > 0
        else:
            value, excess = ours.segments[-1].objective, divergence(ours) - LIMIT
            assert value is not None
            if agent not in CONSTRAINED:
                value += max(0.0, divergence(ours) / LIMIT - 1)
            values.append(value)
            excesses.append(excess)
            kinds.add((ours.pruned, excess > 0))
        if theirs.state is not TrialState.PRUNED:
            assert theirs.value == pytest.approx(value)
        assert dict(theirs.constraints) == (
            {"divergence": pytest.approx(excess)} if agent in CONSTRAINED else {}
        )
        for step, reported in theirs.intermediate_values.items():
            segment = ours.segments[step]
            over = max(0.0, segment.metrics["divergence"] / LIMIT - 1)
            assert reported == pytest.approx((segment.objective or 0.0) + over)
    assert any(trial.outcome is Outcome.EXPLODED for trial in pool.trials)
    assert {(False, False), (False, True)} <= kinds
    assert pool.history.best is not None
    if agent in CONSTRAINED and pruner == "none":
        assert proposer.study.best_trial.number == pool.history.best.id


@pytest.mark.parametrize("agent", [agent for agent in AGENTS if agent != "portfolio"])
def test_every_agent_searches_under_a_limit(agent: str, make_pool: MakePool) -> None:
    pool = make_pool(agent, trials=4, seed=1, space="full", workers=2, max_divergence=LIMIT)
    make_searcher(agent, trials=4, seed=1).search(pool)
    within = [t for t in pool.trials if t.can_win and divergence(t) <= LIMIT]
    best = pool.history.best
    assert best == min(within, key=lambda trial: trial.value or 0.0, default=None)
    assert all(trial.outcome is not Outcome.FAILED for trial in pool.trials)


def valleys_env(**settings: Any) -> FineTuneEnv:
    """A toy of two valleys over the learning rate, whose place in its range is the divergence.

    The one at 1/8 is within the limit, the one at 3/4 is deeper.
    """
    env = make_env("simulated", trial_tokens=4096, **settings)
    advance = env.run.advance

    def note(state: Any, hyperparameters: Any, segment: int, *more: Any) -> Any:
        state.place = env.space["learning_rate"].to_unit(hyperparameters["learning_rate"])
        return advance(state, {**hyperparameters, "learning_rate": 1e-4}, segment, *more)

    def evaluate(state: Any, split: str, whole: bool) -> Evaluation:
        loss = min(1.3 + 4 * abs(state.place - 1 / 8), 1.0 + 4 * abs(state.place - 3 / 4))
        metrics = {"loss": loss, "forgetting": 0.0, "divergence": state.place}
        return Evaluation(metrics, loss, cost=1.0)

    env.run.advance, env.run.evaluate = note, evaluate  # type: ignore[method-assign]
    return env


@pytest.mark.parametrize(("agent", "trials"), [("tpe", 40), ("gp", 12), ("nsga2", 40)])
def test_samplers_come_to_stay_within_the_limit(
    agent: str, trials: int, make_pool: MakePool
) -> None:
    """A quarter of the space is; without the limit, they go where it is exceeded."""

    def share_within(max_divergence: float | None) -> float:
        settings = {"factory": f"{__name__}:valleys_env", "max_divergence": max_divergence}
        pool = make_pool(agent, trials=trials, seed=1, **settings)
        make_searcher(agent, trials=trials, seed=1, prior="none").search(pool)
        later = pool.trials[trials // 2 :]
        return sum(divergence(trial) <= LIMIT for trial in later) / len(later)

    assert share_within(LIMIT) > 0.6
    assert share_within(None) < 0.25


def search(runs: Path, **settings: Any) -> StudyResult:
    """A study without MLflow."""
    given = {"task": "simulated", "trial_tokens": 4 * 4096, "runs": str(runs), "name": "otter"}
    return run(begin(asked(given | settings)))


def test_a_search_ends_with_a_winner_within_the_limit(tmp_path: Path) -> None:
    result = search(tmp_path, trials=10, max_divergence=LIMIT)
    assert result.best is not None
    assert divergence(result.best) <= LIMIT
    better = [t for t in result.trials if t.can_win and t.value < result.best.value]
    assert better
    assert all(divergence(trial) > LIMIT for trial in better)
    written = json.loads((result.folder / "result.json").read_text())
    assert written["max_divergence"] == LIMIT
    assert written["best_metrics"]["divergence"] <= LIMIT
    assert {"loss", "forgetting"} <= set(written["best_metrics"])
    schedule = json.loads((result.folder / "schedule.json").read_text())
    assert schedule["objective"].endswith(f", subject to divergence ≤ {LIMIT} nats")
    assert result.final is not None
    tested = result.final.tested(result.final.recommended.name)
    assert max(metrics["divergence"] for metrics in tested.metrics) <= LIMIT
    assert rows.best_metrics(result.history)["best_divergence"] == divergence(result.best)
    tags = [rows.trial_tags(result.facts, trial).get("hpopt.feasible") for trial in result.trials]
    kept = [None if t.value is None else divergence(t) <= LIMIT for t in result.trials]
    assert tags == [None if k is None else str(k).lower() for k in kept]


def test_a_resumed_study_keeps_its_limit(tmp_path: Path) -> None:
    search(tmp_path / "twice", trials=3, max_divergence=LIMIT, confirm_seeds=0)
    extended = take_up("otter", str(tmp_path / "twice"), {"trials": 6})
    asked_for = extended.settings.environment.max_divergence
    assert asked_for == extended.facts.max_divergence == LIMIT
    twice = run(extended)
    assert [divergence(t) <= LIMIT for t in twice.trials if t.value is not None].count(True)
    assert twice.best is not None
    assert divergence(twice.best) <= LIMIT


def test_where_nothing_keeps_the_limit_there_is_no_winner_and_nothing_else_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = "search --task simulated --trial-tokens 16384 --trials 2 --max-divergence 1e-6"
    assert main([*typed.split(), "--name", "otter"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("No trial kept the limit on divergence") for line in told) == 1
    folder = tmp_path / "runs" / "otter"
    assert not (folder / "best").exists()
    assert not (folder / "schedule.json").exists()
    written = json.loads((folder / "result.json").read_text())
    assert (written["best_value"], written["best_trial"], written["best_metrics"]) == (None,) * 3
    assert "test" not in written
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert float(run.data.params["max_divergence"]) == 1e-6
    assert "best_value" not in run.data.metrics
