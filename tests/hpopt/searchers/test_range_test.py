"""The controller that finds the learning rate inside its first trial, on the simulated task."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from hpopt.controllers.range_test import plan_ramp
from hpopt.pool.budget import full_run_cost
from hpopt.searchers.base import SearchPlan
from hpopt.searchers.range_test import build
from hpopt.wording import detours
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Control, Outcome, Segment, Trial
from hpopt_envs.schedules import HELD_SHAPE
from tests.displaced import displaced
from tests.hpopt.searchers.range_testing import DEFAULT, MakePool, held, rate_in, rate_of, run

RISE, GUARD, LAST_GUARD = 0.03, 0.02, 0.002  # of the base loss
WEIGHT = 0.5  # of forgetting, in the simulated task


@cache
def grid(trial_tokens: int) -> dict[float, float]:
    """Value by learning rate of held configurations; 9 where it explodes."""
    env = make_env("simulated", trial_tokens=trial_tokens, validate_segments=False)
    values = {}
    for octave in range(-12, 7):
        rate, ended = DEFAULT * 2.0**octave, False
        env.reset(seed=0)
        while not ended:
            asked = {**HELD_SHAPE, **env.space.defaults(), "learning_rate": rate}
            *_, ended, _, info = env.train(asked)
        value = info["trial"].value
        values[rate] = 9.0 if value is None else value
    return values


@pytest.mark.parametrize("trial_tokens", [16384, 65536])
@pytest.mark.parametrize("off", [1e-2, 1e-1, 1.0, 10.0])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_finds_the_scale_within_one_full_run_equivalent(
    workers: int, off: float, trial_tokens: int, make_pool: MakePool
) -> None:
    pool = run(
        make_pool,
        trial_tokens=trial_tokens,
        space=displaced({"learning_rate": off * DEFAULT}),
        workers=workers,
        seed=workers,
        trials=3,
    )
    first, second, third = pool.trials
    step = 4 * 64 * (1 + pool.facts.penalty_cost)
    assert first.outcome in (Outcome.STOPPED, Outcome.COMPLETED)
    assert first.cost <= full_run_cost(pool.facts, pool.space) + step
    assert first.trained_tokens > 0.7 * pool.facts.trial_tokens
    rate, values = rate_in(pool), grid(trial_tokens)
    best = min(values, key=lambda r: values[r])
    assert abs(math.log2(held(second) / rate.snap(best))) <= 2
    assert held(third) == rate.snap(held(second) / 3)
    for trial in (second, third):
        others = {**pool.space.defaults(), **HELD_SHAPE}
        for segment in trial.segments:
            assert {**segment.hyperparameters, "learning_rate": 0} == others | {"learning_rate": 0}


def ramp_of(trial: Trial) -> list[Segment]:
    """The first segments, whose rates rise."""
    rates = [0.0, *map(rate_of, trial.segments)]
    length = next(k for k, rate in enumerate(rates[1:]) if rate <= rates[k])
    return list(trial.segments[:length])


def objective_of(segment: Segment) -> float:
    """What a segment's probe says of the objective."""
    assert segment.probe_loss is not None
    return segment.probe_loss + WEIGHT * (segment.probe_forgetting or 0.0)


def parents_by_rule(trial: Trial, base_loss: float) -> list[int | None]:
    """Where each segment should go on from: the last one, or the best one after a rise."""
    parents: list[int | None] = [None]
    best, kept, ramp = math.inf, None, len(ramp_of(trial))
    for segment in trial.segments[:-1]:
        before_last = segment.id == len(trial.segments) - 2
        guard = RISE if segment.id < ramp else LAST_GUARD if before_last else GUARD
        seen = objective_of(segment)
        worse = seen > best + guard * base_loss or seen == math.inf
        if seen < best:
            best, kept = seen, segment.id
        parents.append(kept if worse else segment.id)
    return parents


@pytest.mark.parametrize("trial_tokens", [16384, 65536])
@pytest.mark.parametrize("off", [0.1, 1.0, 10.0])
def test_the_rate_rises_until_the_probe_loss_does_and_falls_under_guard(
    off: float, trial_tokens: int, make_pool: MakePool
) -> None:
    space = displaced({"learning_rate": off * DEFAULT, "batch_size": 8})
    pool = run(make_pool, trials=2, trial_tokens=trial_tokens, space=space)
    trial, second = pool.trials
    ramp = ramp_of(trial)
    decay = trial.segments[len(ramp) :]
    assert [segment.parent for segment in trial.segments] == parents_by_rule(
        trial, pool.facts.base_loss
    )
    assert trial.segments[-1].probe_loss is None
    planned = plan_ramp(rate_in(pool), int(0.3 * trial_tokens / (4 * 64)))
    rates, steps = zip(*planned[: len(ramp)], strict=True)
    assert [rate_of(segment) for segment in ramp] == pytest.approx(rates)
    assert [segment.optimizer_steps for segment in ramp] == list(steps)
    rolled_back = decay[0].control is Control.ROLL_BACK
    assert rolled_back or len(ramp) == len(planned)
    good = [s for s in ramp if objective_of(s) == min(map(objective_of, ramp))]
    peak = rate_of(good[0] if rolled_back else ramp[-1])
    assert len(decay) == 5
    for k, segment in enumerate(decay):
        if k > 0 and segment.control is Control.ROLL_BACK:
            peak /= 3
        asked = max(rate_in(pool).low, peak * (1 - (k + 0.5) / 5))
        assert rate_of(segment) == pytest.approx(asked, rel=1e-5)
    assert held(second) == pytest.approx(peak, rel=1e-5)
    sizes = [segment.hyperparameters["batch_size"] for segment in trial.segments]
    assert sizes == [4] * len(ramp) + [8] * 5
    assert {s.hyperparameters["divergence_weight"] for s in trial.segments} == {0.1}


def test_probes_and_what_was_rolled_back_are_paid_for(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=1)
    (trial,) = pool.trials
    assert len(trial.path) < len(trial.segments)
    facts, probes = pool.facts, len(trial.segments) - 1
    tokens = sum(segment.optimizer_steps * 4 * 64 for segment in trial.segments)
    expected = tokens * (1 + facts.penalty_cost) + probes * (16 + 8) * 64 / 3
    assert trial.cost == pytest.approx(expected + facts.final_validation_cost)
    assert pool.history.cost == pytest.approx(trial.cost + facts.setup_cost)
    assert pool.history.training_tokens == trial.trained_tokens == tokens


def test_what_was_probed_and_rolled_back_is_told(make_pool: MakePool) -> None:
    trials = run(make_pool, trials=2, trial_tokens=32_768).trials
    probed = [s for s in trials[0].segments if s.control in (Control.PROBE, Control.ROLL_BACK)]
    gone = {s.id for s in trials[0].segments} - {s.id for s in trials[0].path}
    lost = sum(s.tokens for s in trials[0].segments if s.id in gone)
    told = detours(trials)
    assert f"probed {len(probed)} times" in told
    assert f"({lost:,} training tokens)" in told
    assert lost > 0
    assert detours(trials[1:]) == ""


def test_studies_of_before_go_on_in_ten_stretches(make_pool: MakePool) -> None:
    pool = make_pool("range-test", trials=1, trial_tokens=65536)
    build(SearchPlan("range-test", "none", 1, 0, "default", observation=3)).search(pool)
    (trial,) = pool.trials
    decay = trial.segments[len(ramp_of(trial)) :]
    assert len(decay) == 10
    probes = [objective_of(segment) for segment in trial.segments[:-1]]
    back = decay[-1].control is Control.ROLL_BACK
    assert back == (probes[-1] > min(probes[:-1]) + GUARD * pool.facts.base_loss)


def env_with(
    change: Callable[[Any, Any, int], Any], trial_tokens: int, **settings: Any
) -> FineTuneEnv:
    """The simulated task, with something done to what a segment came to."""
    env = make_env("simulated", trial_tokens=trial_tokens, **settings)
    advance = env.run.advance

    def changed(state: Any, hyperparameters: Any, segment: int, *more: Any) -> Any:
        progress = advance(state, hyperparameters, segment, *more)
        return change(progress, hyperparameters, segment)

    env.run.advance = changed  # type: ignore[method-assign, assignment]
    return env


def explodes(progress: Any) -> Any:
    return replace(progress, train_loss=math.inf, outcome=Outcome.EXPLODED, reason="inf")


def cliff_env(cliff: float, **settings: Any) -> FineTuneEnv:
    """Every learning rate from one on explodes."""

    def fall(progress: Any, hyperparameters: Any, segment: int) -> Any:
        return explodes(progress) if hyperparameters["learning_rate"] >= cliff else progress

    return env_with(fall, 65536, **settings)


@pytest.mark.parametrize("octaves", [-3.5, -0.5])
def test_an_explosion_ends_the_ramp_and_not_the_trial(octaves: float, make_pool: MakePool) -> None:
    cliff = DEFAULT * 2**octaves
    pool = run(make_pool, trials=3, factory=f"{__name__}:cliff_env", cliff=cliff)
    first, second, third = pool.trials
    exploded = [s for s in first.segments if s.probe_loss == math.inf]
    assert [rate_of(s) for s in exploded] == pytest.approx([cliff * 2**0.5])
    assert exploded[0].id not in [segment.id for segment in first.path]
    assert first.can_win
    assert held(second) == pytest.approx(cliff / 2**0.5, rel=1e-5)
    assert held(third) == pytest.approx(cliff / 2**0.5 / 3, rel=1e-5)


def test_where_every_rate_explodes_it_stays_at_the_lowest_and_holds_that_once(
    make_pool: MakePool,
) -> None:
    pool = run(make_pool, trials=4, factory=f"{__name__}:cliff_env", cliff=1e-12)
    first, second, *later = pool.trials
    assert {trial.outcome for trial in pool.trials} == {Outcome.EXPLODED}
    low = rate_in(pool).low
    assert [rate_of(segment) for segment in first.segments] == [low] * 6
    assert held(second) == low
    assert later
    assert low not in map(held, later[:2])


def stumbling_env(**settings: Any) -> FineTuneEnv:
    """Training raises in the eighth segment of the first trial."""
    done: list[int] = []

    def stumble(progress: Any, hyperparameters: Any, segment: int) -> Any:
        done.append(segment)
        if done == list(range(8)):
            raise ValueError("the data has a hole")
        return progress

    return env_with(stumble, 16384, **settings)


def test_a_first_trial_that_fails_has_found_nothing_but_the_default(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=3, factory=f"{__name__}:stumbling_env")
    first, second, third = pool.trials
    assert first.outcome is Outcome.FAILED
    assert "the data has a hole" in first.reason
    assert held(second) == DEFAULT
    assert held(third) == pytest.approx(DEFAULT / 3, rel=1e-5)


def small_batches() -> dict[str, Any]:
    space = make_env("simulated").space.to_dict()
    (batch,) = [p for p in space["parameters"] if p["name"] == "batch_size"]
    batch |= {"low": 4, "high": 8, "default": 4}
    return space


@pytest.mark.parametrize("steps", [2, 4, 6, 10, 16, 32])
def test_a_trial_of_a_few_steps_works(steps: int, make_pool: MakePool) -> None:
    tokens = steps * 4 * 64
    pool = run(make_pool, trials=3, space=small_batches(), trial_tokens=tokens)
    first = pool.trials[0]
    step = 4 * 64 * (1 + pool.facts.penalty_cost)
    assert first.value is not None
    assert first.cost <= full_run_cost(pool.facts, pool.space) + step
    assert 1 <= sum(s.optimizer_steps for s in first.segments) <= steps
    assert len(pool.trials) >= 3
    rates = [rate_of(s) for s in first.segments[len(ramp_of(first)) :]]
    if len(rates) > 1:  # however few the stretches, they are a decay to nearly nothing
        assert rates[-1] / rates[0] <= 1 / (2 * len(rates) - 1) + 1e-5
