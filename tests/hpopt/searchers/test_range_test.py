"""The controller that finds the learning rate inside its first trial, on the simulated task."""

import math
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt.errors import StudyError
from hpopt.pool.budget import full_run_cost
from hpopt.pool.local import LocalPool
from hpopt.pool.metered import MeteredPool
from hpopt.record.history import FIRST_TEST
from hpopt.record.journal import Event
from hpopt.searchers import range_test
from hpopt.searchers.optuna_proposer import OptunaProposer
from hpopt.searchers.range_test import plan_ramp
from hpopt.searchers.registry import make_searcher
from hpopt.settings.study import Settings
from hpopt.study import opening
from hpopt.study.display import Display
from hpopt.study.opening import begin
from hpopt.wording import detours
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Control, Outcome, Segment, Trial
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import FloatParameter, Value
from tests.hpopt.study.test_resume import events_of, outcome, resume, search, tear, told

MakePool = Callable[..., MeteredPool]

MAKE_ENV = "hpopt_envs.factory:make_env"
DEFAULT = 0.0011  # of the simulated task
RISE, GUARD = 0.03, 0.02  # of the base loss


def run(
    make_pool: MakePool,
    *,
    trials: int = 5,
    trial_tokens: int = 65536,
    seed: int = 0,
    workers: int = 1,
    factory: str = MAKE_ENV,
    **settings: Any,
) -> MeteredPool:
    if factory == MAKE_ENV:
        settings["trial_tokens"] = trial_tokens
    pool = make_pool(
        "range-test", trials=trials, seed=seed, workers=workers, factory=factory, **settings
    )
    make_searcher("range-test", trials=trials, seed=seed).search(pool)
    return pool


def rate_of(segment: Segment) -> float:
    return float(segment.hyperparameters["learning_rate"])


def rate_in(pool: MeteredPool) -> FloatParameter:
    rate = pool.space["learning_rate"]
    assert isinstance(rate, FloatParameter)
    return rate


def held(trial: Trial) -> float:
    """The learning rate of a trial that has only one."""
    (rate,) = {rate_of(segment) for segment in trial.segments}
    return rate


# ---- the ramp


@st.composite
def ranges(draw: st.DrawFn) -> FloatParameter:
    low = 10 ** draw(st.floats(-7, -2))
    high = low * 2 ** draw(st.floats(0.1, 20))
    default = low * (high / low) ** draw(st.floats(0, 1))
    default = min(max(default, float(f"{low:.6g}")), float(f"{high:.6g}"))
    return FloatParameter("learning_rate", low, high, default, log=True, dynamic=True)


@given(ranges(), st.integers(-1, 60))
def test_a_ramp_rises_within_its_range_and_its_steps(rate: FloatParameter, allowed: int) -> None:
    ramp = plan_ramp(rate, allowed)
    rates = [learning_rate for learning_rate, _ in ramp]
    factors = [after / before for before, after in pairwise(rates)]
    slack = 1 + 1e-3  # ends of ranges are rounded
    assert sum(steps for _, steps in ramp) <= max(1, allowed)
    assert all(steps >= 1 for _, steps in ramp)
    assert all(1.0 < factor <= 4.0 * slack for factor in factors)
    assert rate.low / slack <= rates[0] <= float(rate.default) * slack
    assert rates[-1] <= rate.high * slack
    ends_at_the_top = rates[-1] >= rate.high / slack
    needed = math.ceil(math.log2(rate.high / rate.low) - 1e-3)  # doublings
    if allowed > needed:  # at least a step a doubling, from one end to the other
        assert ends_at_the_top
        assert rates[0] <= rate.low * slack
        assert all(factor <= 2.0 * slack for factor in factors)
    if allowed >= 2 * (needed + 1):
        assert all(steps == 2 for _, steps in ramp)
    if not ends_at_the_top:  # from the default on, and as steeply as is allowed
        assert rates[0] == pytest.approx(rate.default)
        assert all(factor == pytest.approx(4.0) for factor in factors)
        assert len(ramp) == max(1, allowed)


@given(st.integers(10, 99), st.integers(-6, -2))
def test_a_range_in_octaves_takes_a_doubling_an_octave(digits: int, exponent: int) -> None:
    octaves = FloatParameter("learning_rate", 0, 0, "auto", log=True, octaves=(-6, 5))
    rate = octaves.resolve(float(f"{digits}e{exponent}"))
    assert [steps for _, steps in plan_ramp(rate, 24)] == [2] * 12
    assert [steps for _, steps in plan_ramp(rate, 23)] == [1] * 12


def test_a_ramp_without_room_begins_nearer_to_the_default() -> None:
    rate = FloatParameter("learning_rate", 1e-5, 1e-1, 1e-3, log=True)
    assert [r for r, _ in plan_ramp(rate, 8)] == pytest.approx(
        [1e-5 * 10 ** (4 * k / 7) for k in range(8)]
    )
    assert [r for r, _ in plan_ramp(rate, 5)] == pytest.approx([0.1 / 4**k for k in range(5)][::-1])
    assert [r for r, _ in plan_ramp(rate, 3)] == pytest.approx([1e-3, 4e-3, 16e-3])
    assert [plan_ramp(rate, steps) for steps in (1, 0)] == [[(1e-3, 1)]] * 2


# ---- the first trial


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
        baseline={"learning_rate": off * DEFAULT},
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


def parents_by_rule(trial: Trial, base_loss: float) -> list[int | None]:
    """Where each segment should go on from: the last one, or the best one after a rise."""
    parents: list[int | None] = [None]
    best, kept, ramp = math.inf, None, len(ramp_of(trial))
    for segment in trial.segments[:-1]:
        assert segment.probe_loss is not None
        allowed = best + (RISE if segment.id < ramp else GUARD) * base_loss
        worse = segment.probe_loss > allowed or segment.probe_loss == math.inf
        if segment.probe_loss < best:
            best, kept = segment.probe_loss, segment.id
        parents.append(kept if worse else segment.id)
    return parents


@pytest.mark.parametrize("trial_tokens", [16384, 65536])
@pytest.mark.parametrize("off", [0.1, 1.0, 10.0])
def test_the_rate_rises_until_the_probe_loss_does_and_falls_under_guard(
    off: float, trial_tokens: int, make_pool: MakePool
) -> None:
    baseline = {"learning_rate": off * DEFAULT, "batch_size": 8}
    pool = run(make_pool, trials=2, trial_tokens=trial_tokens, baseline=baseline)
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
    good = [s for s in ramp if s.probe_loss == min(r.probe_loss or math.inf for r in ramp)]
    peak = rate_of(good[0] if rolled_back else ramp[-1])
    assert len(decay) == 10
    for k, segment in enumerate(decay):
        if k > 0 and segment.control is Control.ROLL_BACK:
            peak /= 3
        assert rate_of(segment) == pytest.approx(peak * (1 - (k + 0.5) / 10), rel=1e-5)
    assert held(second) == pytest.approx(peak, rel=1e-5)
    sizes = [segment.hyperparameters["batch_size"] for segment in trial.segments]
    assert sizes == [4] * len(ramp) + [8] * 10
    assert {s.hyperparameters["divergence_weight"] for s in trial.segments} == {0.1}


def test_probes_and_what_was_rolled_back_are_paid_for(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=1)
    (trial,) = pool.trials
    assert len(trial.path) < len(trial.segments)
    facts, probes = pool.facts, len(trial.segments) - 1
    tokens = sum(segment.optimizer_steps * 4 * 64 for segment in trial.segments)
    expected = tokens * (1 + facts.penalty_cost) + probes * 16 * 64 / 3
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


def test_where_every_rate_explodes_it_goes_on_below_them(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=4, factory=f"{__name__}:cliff_env", cliff=1e-12)
    first, second, *_ = pool.trials
    assert {trial.outcome for trial in pool.trials} == {Outcome.EXPLODED}
    low = rate_in(pool).low
    rates = [low, *(low / 3 ** (k + 1) * (1 - (k + 0.5) / 10) for k in range(10))]
    assert [rate_of(segment) for segment in first.segments] == pytest.approx(rates, rel=1e-5)
    assert held(second) == low


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


# ---- the later trials


@pytest.fixture
def proposers(monkeypatch: pytest.MonkeyPatch) -> list[OptunaProposer]:
    """Those that the searcher makes."""
    made: list[OptunaProposer] = []

    class Seen(OptunaProposer):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            made.append(self)

    monkeypatch.setattr(range_test, "OptunaProposer", Seen)
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_later_trials_are_tpes_around_the_rate_found(
    workers: int, make_pool: MakePool, proposers: list[OptunaProposer]
) -> None:
    pool = run(make_pool, trials=14, workers=workers, seed=3, trial_tokens=16384)
    _, second, *later = pool.trials
    found, (proposer,) = held(second), proposers
    assert len(later) >= 12
    assert all(found / 8.001 <= held(trial) <= found * 4.001 for trial in later)
    assert max(map(held, later)) / min(map(held, later)) > 2
    sizes = {trial.segments[0].hyperparameters["batch_size"] for trial in later}
    weights = {trial.segments[0].hyperparameters["divergence_weight"] for trial in later}
    assert len(sizes) > 1
    assert len(weights) > 2
    seen = proposer.study.get_trials(deepcopy=False)
    for ours, theirs in zip(pool.trials[1:], seen, strict=True):
        told_worse = theirs.value is not None and theirs.value > pool.facts.base_objective - 1
        assert theirs.value == ours.value or (ours.outcome is Outcome.EXPLODED and told_worse)
        assert theirs.params["learning_rate"] == pytest.approx(held(ours), rel=1e-5)


def test_another_seed_has_other_later_trials(make_pool: MakePool) -> None:
    rates = [
        [held(t) for t in run(make_pool, trials=6, trial_tokens=16384, seed=seed).trials[1:]]
        for seed in (1, 2)
    ]
    assert rates[0][:2] == rates[1][:2]
    assert rates[0][2:] != rates[1][2:]


# ---- interruptions


class Interrupt(Display):
    """Ctrl-C right after the `count`th event is in the journal."""

    def __init__(self, count: int) -> None:
        self.left = count

    def event(self, event: Event) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def findings(trials: Sequence[Trial]) -> list[str]:
    """What trials came to, but for what the study had spent by then."""
    return [
        told(replace(trial, segments=tuple(replace(s, study_cost=0.0) for s in trial.segments)))
        for trial in trials
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_search_comes_to_what_it_would_have_come_to(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slots(factory: str, settings: dict[str, Any]) -> LocalPool:
        return LocalPool(factory, settings, workers)

    monkeypatch.setattr(opening, "LocalPool", slots)  # several workers in this process
    asked: dict[str, Any] = {"agent": "range-test", "trials": 4, "confirm_seeds": 1}
    whole = search(tmp_path / "whole", **asked)
    draw = random.Random(0)
    for count in range(2, len(events_of(whole)), 15):
        runs = tmp_path / str(count)
        with pytest.raises(KeyboardInterrupt):
            search(runs, Interrupt(count), **asked)
        tear(runs / "otter" / "journal.jsonl", draw)
        without = count % 2 == 0
        if without:
            shutil.rmtree(runs / "otter" / "snapshots")
        result = resume(runs)
        if without:  # what is trained again is paid for again
            assert findings(result.trials) == findings(whole.trials)
            assert result.confirmation == whole.confirmation
            assert result.cost >= whole.cost
        else:
            assert outcome(result) == outcome(whole)


def test_a_winner_that_rolled_back_is_confirmed_on_its_path(tmp_path: Path) -> None:
    result = search(tmp_path, agent="range-test", trials=1, trial_tokens=65536, confirm_seeds=2)
    best = result.best
    assert best is not None
    assert len(best.path) < len(best.segments)
    tests = [result.history.trials[trial] for trial in sorted(result.history.tests)]
    assert [trial.id for trial in tests] == [FIRST_TEST + k for k in range(4)]
    expected = [(dict(s.hyperparameters), s.tokens) for s in best.path]
    for trial in tests[:2]:
        assert [(dict(s.hyperparameters), s.tokens) for s in trial.segments] == expected
        assert trial.path == trial.segments
        assert trial.value is not None
    assert {trial.seed for trial in tests[:2]} == {trial.seed for trial in tests[2:]}
    for trial in tests[2:]:
        assert trial.trained_tokens == result.facts.trial_tokens


# ---- what it needs, and who is beside it


@pytest.mark.parametrize(
    "change",
    [{"dynamic": False}, {"log": False}, {"type": "choice", "choices": [1e-4, 1e-3]}],
)
def test_a_space_whose_learning_rate_cannot_move_is_refused_in_one_line(
    change: dict[str, Any], tmp_path: Path
) -> None:
    rate = {"type": "float", "log": True, "low": 1e-4, "high": 1e-1, "default": 1e-3}
    rate |= {"dynamic": True} | change
    if rate["type"] == "choice":
        rate = {"type": "choice", "choices": rate["choices"], "default": 1e-3}
    space = tmp_path / "still.toml"
    lines = [
        f"{name} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for name, v in rate.items()
    ]
    space.write_text(
        "\n".join(["[parameters.learning_rate]", *lines])
        + "\n[parameters.batch_size]\ntype = 'choice'\nchoices = [4, 8]\ndefault = 4\n"
    )
    asked = {"agent": "range-test", "task": "simulated", "space": str(space), "runs": tmp_path}
    with pytest.raises(StudyError, match="range-test needs a space with a learning_rate") as raised:
        begin(Settings.of({**asked, "runs": str(tmp_path / "runs"), "name": "still"}))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs" / "still").exists()


def test_the_default_alone_is_one_trial_of_the_default_configuration(tmp_path: Path) -> None:
    result = search(tmp_path, agent="default", trials=6, confirm_seeds=1)
    (trial,) = result.trials
    expected: dict[str, Value] = {**result.space.defaults(), **HELD_SHAPE}
    assert [dict(s.hyperparameters) for s in trial.segments] == [expected] * 4
    assert result.best_value == trial.value
    assert outcome(resume(tmp_path)) == outcome(result)


@pytest.mark.parametrize("agent", ["tpe", "random", "range-test"])
def test_the_space_of_schedules_is_searched(agent: str, tmp_path: Path) -> None:
    result = search(tmp_path, agent=agent, space="scheduled", trials=6, confirm_seeds=1)
    searched = [trial.segments[0].hyperparameters for trial in result.trials[3:]]
    assert len(searched) == 3
    for name in ("final_divergence_weight", "warmup_fraction", "schedule_shape"):
        assert all(name in values for values in searched)
    shaped = [values for values in searched if values["schedule_shape"] != "constant"]
    assert all("final_fraction" in values for values in shaped)
    assert len({values["final_divergence_weight"] for values in searched}) > 1
    assert result.best is not None
