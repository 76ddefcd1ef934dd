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
from hpopt.pool.metered import MeteredPool
from hpopt.searchers.cells import Cells
from hpopt.searchers.judge import Judge
from hpopt.searchers.learned import PROPOSED
from hpopt_envs.factory import make_env
from hpopt_envs.records import Trial
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import load_space
from tests.displaced import displaced
from tests.hpopt.searching import Interrupt, make_searcher, outcome, resume, search, told

MakePool = Callable[..., MeteredPool]
NANO = {"task": "nano:markov:3", "trial_tokens": None}


def run(
    make_pool: MakePool, agent: str = "learned", *, trials: int = 4, seed: int = 0, **settings: Any
) -> MeteredPool:
    pool = make_pool(agent, trials=trials, seed=seed, **settings)
    make_searcher(agent, trials=trials, seed=seed).search(pool)
    return pool


def values_of(trial: Trial) -> dict[str, Any]:
    """The configuration of a trial that holds one."""
    (values,) = {tuple(sorted(s.hyperparameters.items())) for s in trial.segments}
    return dict(values)


# ---- the first trial


@pytest.mark.parametrize("off", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_that_of_the_range_test(off: float, workers: int, make_pool: MakePool) -> None:
    space = displaced({"learning_rate": off * 0.0011})
    settings = {"trial_tokens": 65536, "space": space, "workers": workers}
    pool = run(make_pool, trials=1, **settings)
    other = make_pool("range-test", trials=1, **settings)
    make_searcher("range-test", trials=1, seed=0).search(other)
    assert told(pool.trials[0]) == told(other.trials[0])


def test_what_the_ramp_showed_is_what_the_networks_see(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=1, trial_tokens=65536)
    first, why = pool.trials[0], pool.history.chosen[0]
    rates = [float(s.hyperparameters["learning_rate"]) for s in first.segments]
    length = next(k for k in range(1, len(rates)) if rates[k] < 1.9 * rates[k - 1])
    assert why["rates"][:length] == pytest.approx(rates[:length], rel=1e-4)
    for seen, objective, segment in zip(
        why["loss"], why["objective"], first.segments[:length], strict=False
    ):
        assert seen == pytest.approx(segment.probe_loss, rel=1e-3)
        assert objective == pytest.approx(pool.facts.probed(segment), rel=1e-3)
    assert why["loss"][length:] == [None] * (12 - length)
    assert why["text"].startswith(f"the ramp was lowest at {min_rate(pool):.4g} and rose at")


def min_rate(pool: MeteredPool) -> float:
    seen = pool.history.chosen[0]
    known = [(v, r) for v, r in zip(seen["objective"], seen["rates"], strict=True) if v is not None]
    return float(min(known)[1])


def test_a_ramp_that_left_levels_out_is_not_shown(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=3, trial_tokens=32 * 256)
    why = pool.history.chosen[0]
    assert why["text"].startswith("on with learning_rate=")
    assert why["loss"] == [None] * 12
    assert len(pool.trials) >= 3


# ---- later trials


@pytest.mark.parametrize("agent", ["dqn", "greedy"])
def test_what_it_proposes_is_held_legal_and_never_the_same_twice(
    agent: str, make_pool: MakePool
) -> None:
    pool = run(make_pool, agent, trials=PROPOSED + 3, **NANO)
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
        if trial:
            assert "expected regret" in why["text"]
            assert held[trial - 1]["learning_rate"] == why["learning_rate"]
            row = why["expected"][why["row"]]
            assert row["divergence_weight"] == held[trial - 1]["divergence_weight"]
            assert row["batch_size"] == held[trial - 1]["batch_size"]


@pytest.mark.parametrize("networks", ["fitted", "practised"])
def test_a_choice_is_the_lowest_expected_regret_of_what_is_untried(networks: str) -> None:
    env = make_env("nano:hmm:1", validate_segments=False)
    cells = Cells.of(env.space, env.facts)
    judge = Judge(getattr(load_policy(), networks), cells, env.facts)
    seen = set()
    for _ in range(6):
        choice = judge.choose(left=5)
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


def test_how_many_trials_are_left_matters_to_networks_that_practised() -> None:
    env = make_env("nano:hmm:1", validate_segments=False)
    cells = Cells.of(env.space, env.facts)
    expected = {
        left: Judge(load_policy().practised, cells, env.facts).choose(left).why["expected"]
        for left in (1, 3, 5)
    }
    assert expected[1] != expected[3] != expected[5]


# ---- spaces


@pytest.mark.parametrize(
    ("fixed", "batches", "weights"),
    [
        ({}, (4, 16), DIVERGENCE_WEIGHTS),
        ({"divergence_weight": 0.4}, (4, 16), ()),
        ({"batch_size": 8}, (), DIVERGENCE_WEIGHTS),
        ({"batch_size": "all"}, (), DIVERGENCE_WEIGHTS),
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
    assert len(legal) == (len(batches) or 1) * (len(weights) or 1)
    for cell in legal:
        values = cells.values(cell, 3.0)
        assert cells.place(values) == (3, cell)
        assert set(values) == set(env.space.names)
    held = {cells.shown(cell)["divergence_weight"] for cell in legal}
    assert held == (set(weights) or {fixed.get("divergence_weight")})
    level = cells.level_of(float(env.space.defaults()["learning_rate"]))
    assert level == pytest.approx(6.0, abs=1e-3)


def test_where_nothing_says_what_is_forgotten_the_weight_stays_at_its_default() -> None:
    env = make_env("simulated")
    facts = replace(env.facts, base_metrics={"loss": 3.0})
    cells = Cells.of(env.space, facts)
    assert cells.weights == ()
    values = cells.values(int(cells.legal.nonzero()[0, 0]), 2.0)
    assert values["divergence_weight"] == env.space.defaults()["divergence_weight"]


@pytest.mark.parametrize("name", ["scheduled", "full", "lora", "choices", "default"])
def test_what_a_space_holds_still_stays_still_in_the_first_trial(
    name: str, make_pool: MakePool
) -> None:
    space: Any = name
    if name == "choices":
        space = load_space("default").to_dict()
        space["parameters"] = [
            {
                "name": "batch_size",
                "type": "choice",
                "choices": [8, 4],
                "default": 8,
                "dynamic": True,
            }
            if parameter["name"] == "batch_size"
            else parameter
            for parameter in space["parameters"]
        ]
    pool = run(make_pool, trials=3, trial_tokens=65536, space=space)
    first = pool.trials[0]
    for parameter in pool.space.parameters:
        seen = {segment.hyperparameters.get(parameter.name) for segment in first.segments}
        assert parameter.dynamic or len(seen) == 1
    for trial in pool.trials[1:3]:
        values = values_of(trial)
        own = {n: v for n, v in values.items() if n in pool.space}
        assert pool.space.snap(own) == own


NARROW = load_space("default").to_dict()
for _parameter in NARROW["parameters"]:
    if _parameter["name"] == "learning_rate":
        _parameter["octaves"] = [-1, 1]


def test_where_the_range_is_too_narrow_for_it_the_range_test_decides(tmp_path: Path) -> None:
    result = search(tmp_path, agent="auto", space=NARROW, trials=1, confirm_seeds=0)
    assert result.history.header["agent"] == "range-test"


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
    save_policy(policy, Values(1), Values(1), {})
    with pytest.raises(StudyError, match="resume: policy must be what the study 'otter' began"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"agent": "tpe", "policy": "x"}, "policy: must go with agent learned, but got agent"),
        ({"agent": "learned", "policy": "nowhere"}, "policy: nowhere must have"),
        ({"agent": "learned-cold"}, "agent: learned begins with what is known"),
        ({"agent": "learned+median"}, "pruner: must go with one of"),
        ({"agent": "learned", "fix": {"learning_rate": 0.001}}, "agent: learned needs a space"),
        ({"agent": "learned", "space": NARROW}, "agent: learned needs a space"),
        ({"agent": "learned", "task": "align"}, "agent: learned needs a task with a loss"),
    ],
)
def test_what_it_cannot_do_is_refused_in_a_line(
    settings: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError) as refused:
        search(tmp_path, **settings)
    assert str(refused.value).startswith(line)
    assert not (tmp_path / "otter").exists()
