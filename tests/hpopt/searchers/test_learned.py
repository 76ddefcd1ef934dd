"""The searcher that learned: its ramp, its choices, what it may do, and what it is told."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt.errors import StudyError
from hpopt.policies.files import OURS, load_policy, save_policy
from hpopt.policies.grid import DIVERGENCE_WEIGHTS
from hpopt.policies.values import Values
from hpopt.pool.budget import full_run_cost
from hpopt.pool.metered import MeteredPool
from hpopt.searchers.cells import Cells
from hpopt.searchers.judge import Judge
from hpopt.searchers.learned import PROPOSED
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Outcome, Trial
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import load_space
from tests.displaced import displaced
from tests.hpopt.searching import Interrupt, make_searcher, outcome, resume, search

MakePool = Callable[..., MeteredPool]
NANO = {"task": "nano:markov:3", "trial_tokens": None}


def run(make_pool: MakePool, *, trials: int = 4, seed: int = 0, **settings: Any) -> MeteredPool:
    pool = make_pool("learned", trials=trials, seed=seed, **settings)
    make_searcher("learned", trials=trials, seed=seed).search(pool)
    return pool


def values_of(trial: Trial) -> dict[str, Any]:
    """The configuration of a trial that holds one."""
    (values,) = {tuple(sorted(s.hyperparameters.items())) for s in trial.segments}
    return dict(values)


# ---- the first trial


@pytest.mark.parametrize("off", [0.1, 1.0, 10.0])
def test_the_ramp_rises_by_the_octave_without_a_penalty_and_costs_are_kept(
    off: float, make_pool: MakePool
) -> None:
    space = displaced({"learning_rate": off * 0.0011})
    pool = run(make_pool, trials=2, trial_tokens=65536, space=space)
    first, cells = pool.trials[0], Cells.of(pool.space, pool.facts)
    rates = [float(s.hyperparameters["learning_rate"]) for s in first.segments]
    length = next(k for k in range(1, len(rates)) if rates[k] < 1.9 * rates[k - 1])
    assert rates[0] == pytest.approx(cells.rate.low, rel=1e-5)
    for k in range(1, length):
        assert rates[k] == pytest.approx(2 * rates[k - 1], rel=1e-4)
    ramp, decay = first.segments[:length], first.segments[length:]
    assert {s.hyperparameters["divergence_weight"] for s in ramp} == {0.0}
    assert {s.hyperparameters["batch_size"] for s in ramp} == {4}
    assert {s.optimizer_steps for s in ramp} == {3}  # 15% of 256 steps over 12 levels
    held = {name for s in decay for name in [tuple(without_rate(s.hyperparameters).items())]}
    assert len(held) == 1
    step = 16 * 64 * (1 + pool.facts.penalty_cost)
    assert first.cost <= full_run_cost(pool.facts, pool.space) + step
    assert first.outcome in (Outcome.STOPPED, Outcome.COMPLETED)


def without_rate(values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "learning_rate"}


def test_the_ramp_ends_where_it_explodes_and_its_trial_does_not(make_pool: MakePool) -> None:
    space = displaced({"learning_rate": 0.03})  # all that is high explodes
    pool = run(make_pool, trials=3, trial_tokens=65536, space=space)
    first = pool.trials[0]
    exploded = [s for s in first.segments if s.probe_loss == math.inf]
    assert exploded
    assert first.value is not None
    kept = {s.id for s in first.path}
    assert not kept & {s.id for s in exploded}


def static_space() -> dict[str, Any]:
    """Batch and divergence weight may not change inside a trial."""
    space = load_space("default").to_dict()
    for parameter in space["parameters"]:
        parameter["dynamic"] = parameter["name"] == "learning_rate"
    return space


@pytest.mark.parametrize(
    "settings",
    [{"trial_tokens": 32 * 256}, {"space": static_space(), "trial_tokens": 65536}],
    ids=["too short for twelve levels", "static"],
)
def test_without_room_or_leave_for_a_ramp_the_first_trial_is_held(
    settings: dict[str, Any], make_pool: MakePool
) -> None:
    pool = run(make_pool, trials=3, **settings)
    assert "ramp" not in pool.history.chosen[0]["text"]
    for trial in pool.trials[:3]:
        assert values_of(trial)["schedule_shape"] == "linear"


# ---- later trials


def test_what_it_proposes_is_held_legal_and_never_the_same_twice(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=PROPOSED + 4, **NANO)
    held = [values_of(trial) for trial in pool.trials[1:] if trial.segments]
    assert len({tuple(sorted(values.items())) for values in held}) == len(held)
    for values in held[:PROPOSED]:
        own = {name: values[name] for name in pool.space.names}
        assert pool.space.snap(own) == own
        assert own["divergence_weight"] in DIVERGENCE_WEIGHTS
        assert {name: values[name] for name in HELD_SHAPE} == HELD_SHAPE
    said = pool.history.chosen
    assert list(said) == list(range(PROPOSED + 1))
    for trial, why in said.items():
        assert "expected regret" in why["text"]
        if trial:
            assert held[trial - 1]["learning_rate"] == why["learning_rate"]
            row = why["expected"][why["row"]]
            assert row["divergence_weight"] == held[trial - 1]["divergence_weight"]
            assert row["batch_size"] == held[trial - 1]["batch_size"]
    assert "the ramp was lowest at" in said[0]["text"]


def test_a_choice_is_the_lowest_expected_regret_of_what_is_untried() -> None:
    env = make_env("nano:hmm:1", validate_segments=False)
    cells = Cells.of(env.space, env.facts)
    judge = Judge(load_policy().values, cells, env.facts)
    seen = set()
    for _ in range(6):
        choice = judge.choose()
        assert choice is not None
        lowest = [
            (regret, row, k)
            for row, told in enumerate(choice.why["expected"])
            for k, regret in enumerate(told["regret"])
            if (row, k) not in seen
        ]
        _, row, level = min(lowest)
        assert choice.why["row"] == row
        rate = choice.why["rates"][level]
        assert abs(math.log2(float(choice.values["learning_rate"]) / rate)) <= 0.5 + 1e-3
        seen.add((row, level))


def test_it_ends_trials_that_are_worse_than_the_base_model(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=6, factory=f"{__name__}:hopeless_env")
    later = [trial for trial in pool.trials[1:] if trial.pruned]
    assert later
    for trial in later:
        assert trial.segments[-1].training_tokens == pool.facts.trial_tokens // 4
    assert len(pool.trials) > 6  # what they save is given back


def hopeless_env(**settings: Any) -> FineTuneEnv:
    """Training makes the loss twice what it was, whatever is done."""
    env = make_env("simulated", trial_tokens=65536, **settings)
    advance = env.run.advance

    def worse(*asked: Any) -> Any:
        progress = advance(*asked)
        return replace(progress, train_loss=2 * env.facts.base_loss)

    env.run.advance = worse  # type: ignore[method-assign]
    return env


# ---- spaces


@pytest.mark.parametrize(
    ("fixed", "batches", "weights"),
    [
        ({}, (4, 16), DIVERGENCE_WEIGHTS),
        ({"divergence_weight": 0.4}, (4, 16), ()),
        ({"batch_size": 8}, (8,), DIVERGENCE_WEIGHTS),
    ],
)
def test_the_grid_is_what_the_space_leaves_free(
    fixed: dict[str, Any], batches: tuple[int, ...], weights: tuple[float, ...]
) -> None:
    env = make_env("simulated", fixed=fixed)
    cells = Cells.of(env.space, env.facts)
    assert cells.batches == batches
    assert cells.weights == weights
    assert cells.levels == 12
    legal = cells.legal.nonzero()[:, 0].tolist()
    assert len(legal) == len(batches) * (len(weights) or 1)
    for cell in legal:
        values = cells.values(cell, 3.0)
        assert cells.place(values) == (3, cell)
        assert set(values) == set(env.space.names)
    held = {cells.shown(cell)["divergence_weight"] for cell in legal}
    assert held == (set(weights) or {0.3})  # the nearest of the grid


def test_where_nothing_says_what_is_forgotten_the_weight_stays_at_its_default() -> None:
    env = make_env("simulated")
    facts = replace(env.facts, base_metrics={"loss": 3.0})
    cells = Cells.of(env.space, facts)
    assert cells.weights == ()
    values = cells.values(int(cells.legal.nonzero()[0, 0]), 2.0)
    assert values["divergence_weight"] == env.space.defaults()["divergence_weight"]


# ---- studies


def test_a_study_that_was_cut_off_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    settings = {"agent": "learned", "task": "nano:markov:3", "trials": 4, "trial_tokens": None}
    whole = search(tmp_path / "whole", **settings)
    events = len((tmp_path / "whole" / "otter" / "journal.jsonl").read_text().splitlines())
    for stop in (5, events // 3, events // 2):
        runs = tmp_path / f"cut-{stop}"
        with pytest.raises(KeyboardInterrupt):
            search(runs, Interrupt(stop), **settings)
        again = resume(runs)
        assert outcome(again) == outcome(whole)
        assert again.history.chosen == whole.history.chosen


def test_another_policy_than_the_studys_is_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(OURS, policy)
    said = {"agent": "learned", "task": "simulated", "policy": str(policy), "trials": 2}
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, Interrupt(6), **said)
    torch.manual_seed(1)
    save_policy(policy, Values(1), {})
    with pytest.raises(StudyError, match="resume: policy must be what the study 'otter' began"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"agent": "tpe", "policy": "x"}, "policy: must go with agent learned, but got agent"),
        ({"agent": "learned", "policy": "nowhere"}, "policy: nowhere must have"),
        ({"agent": "learned-cold"}, "agent: learned begins with the default"),
        ({"agent": "learned+median"}, "pruner: must go with one of"),
        ({"agent": "learned", "fix": {"learning_rate": 0.001}}, "agent: learned needs a space"),
    ],
)
def test_what_it_cannot_do_is_refused_in_a_line(
    settings: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError) as refused:
        search(tmp_path, **settings)
    assert str(refused.value).startswith(line)
    assert not (tmp_path / "otter").exists()
