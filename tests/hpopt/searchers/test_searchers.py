"""The contract of every searcher, on the simulated task through a real pool and journal."""

import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.pool.metered import MeteredPool
from hpopt.searchers.base import SearchPlan
from hpopt.searchers.driver import drive
from hpopt.searchers.optuna_proposer import OptunaProposer
from hpopt.searchers.registry import AGENTS, PRUNERS, find_agent
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.opening import begin
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Outcome, Trial
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import auto
from tests.hpopt.asking import asked
from tests.hpopt.searching import make_searcher

MakePool = Callable[..., MeteredPool]

TRIALS = 6
NETWORKS = ("learned", "dqn", "greedy")  # what they hold is decided by what they saw
STEERED = (*NETWORKS, "range-test")  # their first trials move
LISTS = ("default", "hold", "portfolio")  # they run out, and have tests of their own
SEARCHING = [agent for agent in AGENTS if agent not in LISTS]
EVERY = [
    *((agent, "none") for agent in SEARCHING),
    *(("tpe", pruner) for pruner in PRUNERS if pruner != "none"),
    *((agent, "median") for agent in ("gp", "cmaes", "nsga2", "qmc", "random")),
]
HOLDING = [agent for agent in SEARCHING if AGENTS[agent].holds and agent not in STEERED]
every_searcher = pytest.mark.parametrize(("agent", "pruner"), EVERY)
every_agent = pytest.mark.parametrize("agent", SEARCHING)


def run(
    make_pool: MakePool,
    agent: str,
    pruner: str = "none",
    *,
    trials: int = TRIALS,
    seed: int = 0,
    prior: str = "default",
    **settings: Any,
) -> MeteredPool:
    pool = make_pool(agent, pruner, trials=trials, seed=seed, **settings)
    make_searcher(agent, pruner, trials=trials, seed=seed, prior=prior).search(pool)
    return pool


@every_searcher
def test_a_seed_decides_everything_within_the_budget(
    agent: str, pruner: str, make_pool: MakePool
) -> None:
    first, second = (run(make_pool, agent, pruner, workers=2, seed=1) for _ in range(2))
    assert told(first.trials) == told(second.trials)
    limit = TRIALS * first.facts.trial_tokens
    assert limit - first.facts.trial_tokens < first.history.training_tokens <= limit
    assert all(trial.outcome is not None for trial in first.trials)
    assert not first.history.running
    assert first.history.best is not None


def told(trials: list[Trial]) -> list[Any]:
    """All that trials did, but for their times."""
    return [(t, [s.hyperparameters for s in t.segments]) for t in trials]


@every_agent
def test_what_is_trained_with_is_legal_and_differs(agent: str, make_pool: MakePool) -> None:
    for workers in (1, 3):
        pool = run(make_pool, agent, space="full", workers=workers, seed=workers)
        seen = set()
        for trial in pool.trials:
            for segment in trial.segments:
                values = {n: v for n, v in segment.hyperparameters.items() if n in pool.space}
                pool.space.validate(values)
                assert pool.space.snap(values) == values  # active ones, all of them
            seen.add(tuple(trial.segments[0].hyperparameters.items()))
        assert len(seen) >= len(pool.trials) - 1


@every_agent
def test_another_seed_is_another_study(agent: str, make_pool: MakePool) -> None:
    first, other = (run(make_pool, agent, trials=8, seed=seed) for seed in (1, 2))
    ours, theirs = (
        [[s.hyperparameters for s in t.segments] for t in p.trials] for p in (first, other)
    )
    assert ours != theirs


@pytest.mark.parametrize("agent", HOLDING)
def test_a_configuration_is_held_and_the_default_comes_first(
    agent: str, make_pool: MakePool
) -> None:
    pool = run(make_pool, agent, trials=4)
    assert pool.trials[0].segments[0].hyperparameters == HELD_SHAPE | pool.space.defaults()
    for trial in pool.trials:
        assert len({tuple(s.hyperparameters.items()) for s in trial.segments}) == 1


@pytest.mark.parametrize("agent", HOLDING)
def test_without_the_prior_nobody_begins_with_the_default(agent: str, make_pool: MakePool) -> None:
    pool = run(make_pool, agent, prior="none", trials=2)
    assert pool.trials[0].segments[0].hyperparameters != HELD_SHAPE | pool.space.defaults()


@pytest.mark.parametrize("pruner", [pruner for pruner in PRUNERS if pruner != "none"])
def test_pruners_stop_bad_trials_and_give_their_tokens_back(
    pruner: str, make_pool: MakePool
) -> None:
    pool = run(make_pool, "random", pruner, trials=16, trial_tokens=16 * 4096)
    whole = run(make_pool, "random", trials=16, trial_tokens=16 * 4096)
    pruned = [trial for trial in pool.trials if trial.pruned]
    assert pruned
    assert len(pool.trials) > len(whole.trials)
    assert all(trial.outcome is Outcome.STOPPED for trial in pruned)
    assert all(len(trial.segments) < pool.facts.segments for trial in pruned)
    # The same random configurations, run to their ends: those that were stopped are the worse.
    ends = {trial.id: trial.value for trial in whole.trials if trial.value is not None}
    stopped = [ends[trial.id] for trial in pruned if trial.id in ends]
    kept = [ends[t.id] for t in pool.trials if not t.pruned and t.id in ends]
    assert sum(stopped) / len(stopped) > sum(kept) / len(kept)


def failing_env(**settings: Any) -> FineTuneEnv:
    """The simulated task, whose training raises in every third trial."""
    env = make_env("simulated", trial_tokens=4 * 4096, **settings)
    advance = env.run.advance

    def fail_sometimes(state: Any, hyperparameters: Any, segment: int, *more: Any) -> Any:
        if state.seed % 3 == 0 and segment == 1:
            raise ValueError("the data has a hole")
        return advance(state, hyperparameters, segment, *more)

    env.run.advance = fail_sometimes  # type: ignore[method-assign]
    return env


@every_agent
def test_trials_that_fail_do_not_end_the_search(agent: str, make_pool: MakePool) -> None:
    pool = run(make_pool, agent, factory=f"{__name__}:failing_env")
    failed = [trial for trial in pool.trials if trial.outcome is Outcome.FAILED]
    assert failed
    assert all("the data has a hole" in trial.reason and trial.seed % 3 == 0 for trial in failed)
    assert any(trial.outcome is Outcome.COMPLETED for trial in pool.trials)


def cliff_env(**settings: Any) -> FineTuneEnv:
    """The simulated task, where three quarters of the learning rates explode."""
    env = make_env("simulated", trial_tokens=4 * 4096, **settings)
    advance = env.run.advance

    def explode(state: Any, hyperparameters: Any, segment: int, *more: Any) -> Any:
        place = env.space["learning_rate"].to_unit(hyperparameters["learning_rate"])
        rate = 1e9 if place > 1 / 4 else hyperparameters["learning_rate"]
        return advance(state, {**hyperparameters, "learning_rate": rate}, segment, *more)

    env.run.advance = explode  # type: ignore[method-assign]
    return env


@pytest.mark.parametrize("agent", ["tpe", "gp", "nsga2"])
def test_samplers_learn_where_the_cliff_is(agent: str, make_pool: MakePool) -> None:
    """Random points explode in three trials of four; told of it, samplers keep away."""

    def exploded(name: str) -> float:
        share = 0.0
        for seed in range(3):
            pool = run(
                make_pool,
                name,
                trials=12,
                seed=seed,
                prior="none",
                factory=f"{__name__}:cliff_env",
            )
            later = pool.trials[len(pool.trials) // 2 :]
            share += sum(t.outcome is Outcome.EXPLODED for t in later) / len(later) / 3
        return share

    assert exploded(agent) < exploded("random") - 0.1


@pytest.mark.parametrize("agent", ["default", "tpe", "gp", "cmaes", "random", "grid", "range-test"])
def test_every_searcher_begins_with_the_weight_that_the_rule_says(
    agent: str, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(auto.RULES, "divergence_weight", lambda facts: 0.7)
    (first, *_) = run(make_pool, agent, trials=2).trials
    assert {s.hyperparameters["divergence_weight"] for s in first.segments} == {0.7}


def test_a_failure_is_told_as_the_worst_finite_value(make_pool: MakePool) -> None:
    pool = make_pool("random", "median", trials=16, trial_tokens=16 * 4096)
    plan = SearchPlan("random", "median", trials=16, seed=0, prior="none")
    proposer = OptunaProposer(pool.space, plan, pool.facts)
    drive(proposer, pool)
    ends: list[float] = []
    for ours, theirs in zip(pool.trials, proposer.study.get_trials(deepcopy=False), strict=True):
        if ours.outcome is Outcome.EXPLODED:
            assert theirs.value == max(ends, default=pool.facts.base_objective)
        else:
            assert ours.segments[-1].objective is not None
            ends.append(ours.segments[-1].objective)  # of pruned trials too
    assert any(trial.outcome is Outcome.EXPLODED for trial in pool.trials)
    assert any(trial.pruned for trial in pool.trials)
    first = OptunaProposer(pool.space, plan, pool.facts)
    first.tell(first.ask(), Trial(0, 0, outcome=Outcome.EXPLODED))
    assert first.study.best_value == pool.facts.base_objective


@pytest.mark.parametrize(
    ("agent", "pruner", "line"),
    [
        ("tpee", "none", "agent: there is no 'tpee' (nearest: tpe)"),
        ("tpe", "hyperbend", "pruner: there is no 'hyperbend' (nearest: hyperband)"),
        ("ppo", "median", "pruner: must go with one of tpe, gp, cmaes, nsga2, qmc, random"),
        ("grid", "median", "but got agent 'grid'"),
    ],
)
def test_unknown_names_are_refused_with_one_line(agent: str, pruner: str, line: str) -> None:
    with pytest.raises(StudyError) as raised:
        find_agent(agent, pruner)
    assert line in str(raised.value)
    with pytest.raises(StudyError):
        make_searcher(agent, pruner, trials=3, seed=0)


@pytest.mark.parametrize(
    ("pruner", "space", "expected"),
    [("none", "default", "learned"), ("median", "default", "tpe"), ("none", "static", "tpe")],
)
def test_who_decides_where_nobody_is_named_follows_from_pruner_and_space(
    pruner: str, space: str, expected: str, tmp_path: Path
) -> None:
    shipped = resources.files("hpopt_search_spaces") / "spaces" / "default.toml"
    static = tmp_path / "static.toml"
    static.write_text(shipped.read_text().replace("dynamic = true", "dynamic = false"))
    said = {"task": "simulated", "trials": 1, "confirm_seeds": 0, "pruner": pruner}
    name = str(static) if space == "static" else space
    settings = asked({**said, "space": name, "runs": str(tmp_path / "runs")})
    study = begin(settings)
    assert study.header["agent"] == study.header["settings"]["agent"] == expected
    assert conduct(study, Display()).best is not None


def test_listing_agents_imports_no_library_that_they_need() -> None:
    code = (
        "import sys; import hpopt.searchers as s; assert s.AGENTS;"
        "heavy = {'optuna', 'stable_baselines3', 'torch', 'mlflow'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=path)
