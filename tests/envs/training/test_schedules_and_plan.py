"""Learning-rate shapes, and how tokens are cut into segments and trials."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hpopt_envs.errors import WorldError
from hpopt_envs.factory import make_env
from hpopt_envs.schedules import divergence_weight_at, learning_rate_at, shape_factor
from hpopt_envs.training.plan import Lengths, Plan, batch_sizes, plan_trial
from hpopt_envs.training.real import RealRun
from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    Value,
)
from tests.envs.tiny import HERE


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_warm_up_rises_from_zero_to_one_and_joins_the_shape(shape: str) -> None:
    assert shape_factor(0.0, shape, 0.1) == 0.0
    assert shape_factor(0.05, shape, 0.1) == pytest.approx(0.5)
    assert shape_factor(0.1, shape, 0.1) == pytest.approx(1.0)


def test_shapes_end_where_their_names_say() -> None:
    assert shape_factor(1.0, "constant", 0.0) == 1.0
    assert shape_factor(0.75, "linear", 0.5) == pytest.approx(0.5)
    assert shape_factor(0.75, "cosine", 0.0) == pytest.approx((1 + math.cos(0.75 * math.pi)) / 2)
    assert shape_factor(1.0, "linear", 0.03) == pytest.approx(0.0)


SHARES = st.floats(0, 1)


@given(st.sampled_from(["linear", "cosine"]), st.floats(0, 0.9), SHARES, st.tuples(SHARES, SHARES))
def test_a_shape_falls_from_one_to_its_final_fraction(
    shape: str, warmup: float, final: float, positions: tuple[float, float]
) -> None:
    assert shape_factor(1.0, shape, warmup, final) == pytest.approx(final)
    assert shape_factor(warmup, shape, warmup, final) == pytest.approx(1.0)
    earlier, later = (warmup + (1 - warmup) * share for share in sorted(positions))
    high, low = (shape_factor(position, shape, warmup, final) for position in (earlier, later))
    assert final - 1e-9 <= low <= high + 1e-9 <= 1 + 2e-9


def test_a_constant_shape_has_no_final_fraction() -> None:
    assert shape_factor(1.0, "constant", 0.1, 0.3) == 1.0
    assert shape_factor(0.05, "constant", 0.1, 0.3) == pytest.approx(0.5)


SHAPED: dict[str, Value] = {
    "learning_rate": 0.02,
    "batch_size": 8,
    "divergence_weight": 0.5,
    "final_divergence_weight": 2.0,
    "warmup_fraction": 0.25,
    "final_fraction": 0.3,
}


def expected_rate(position: float, shape: str) -> float:
    """Warm-up over a quarter, then down to 0.3 of 0.02, in numpy's terms."""
    line = float(np.interp(position, [0.0, 0.25, 1.0], [0.0, 1.0, 0.0]))
    if position > 0.25 and shape == "cosine":
        line = 0.5 + 0.5 * math.cos(math.pi * (position - 0.25) / 0.75)
    if position > 0.25:
        line = 1.0 if shape == "constant" else 0.3 + 0.7 * line
    return 0.02 * line


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("cut", [64, 320, 512])
def test_every_step_of_a_real_trial_has_the_rate_and_the_weight_of_its_position(
    shape: str, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_env(f"{HERE}:Words", model=f"{HERE}:Bigrams", trial_tokens=2560, device="cpu")
    assert isinstance(env.run, RealRun)
    compute, rates, weights = env.run._gradients.compute, [], []

    def seen(batch: Any, retained: Any, hyperparameters: Any, seed: int) -> Any:
        weights.append(hyperparameters["divergence_weight"])
        assert (retained is not None) == (weights[-1] > 0)
        return compute(batch, retained, hyperparameters, seed)

    monkeypatch.setattr(env.run._gradients, "compute", seen)
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    env.reset(seed=0)
    for _ in range(2560 // cut):
        env.train({**SHAPED, "schedule_shape": shape}, tokens=cut)
    hook.remove()
    assert env.trial.outcome is not None
    positions = [step * 64 / 2560 for step in range(40)]
    assert rates == pytest.approx([expected_rate(p, shape) for p in positions])
    assert weights == pytest.approx([0.5 + 1.5 * p for p in positions])


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_a_simulated_trial_is_its_stretches_each_with_the_rate_of_its_position(shape: str) -> None:
    """A quarter of a segment is held at the rate and the weight of its beginning."""
    env = make_env("simulated", trial_tokens=16384, validate_segments=False)
    tensors = []
    for held in (True, False):
        env.reset(seed=0)
        for stretch in range(16 if held else 4):
            position = stretch / 16
            rate = expected_rate(position, shape) / 20
            values = {**SHAPED, "learning_rate": 0.001, "schedule_shape": shape}
            if held:
                weight = 0.5 + 1.5 * position
                values = {"learning_rate": rate, "divergence_weight": weight, "batch_size": 8}
            env.train(values, tokens=1024 if held else 4096)
        tensors.append(env.run.snapshot(env._position.state)[0])
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensor, tensors[1][name])


def test_without_an_end_of_its_own_the_weight_stays_and_a_rate_falls_to_zero() -> None:
    held: dict[str, Value] = {"learning_rate": 0.1, "divergence_weight": 0.7}
    assert {divergence_weight_at(p, held) for p in (0.0, 0.5, 1.0)} == {0.7}
    assert divergence_weight_at(0.5, {"final_divergence_weight": 0.4}) == 0.2
    assert learning_rate_at(1.0, {**held, "schedule_shape": "linear"}) == 0.0
    assert learning_rate_at(1.0, held) == 0.1


def space(batch_size: ChoiceParameter | IntegerParameter) -> SearchSpace:
    rate = FloatParameter("learning_rate", 1e-4, 1e-1, 1e-3, log=True)
    return SearchSpace("test", (rate, batch_size))


POWERS = [4, 8, 16, 32, 64]
LONG = Lengths(mean=64, equal=True, total=10**6, examples=15_625)
RAGGED = Lengths(mean=50, equal=False, total=10**6, examples=20_000)


def test_default_trial_is_sixteen_segments_of_4096_tokens() -> None:
    assert plan_trial(POWERS, LONG) == Plan(4096, 65536)


@pytest.mark.parametrize("lengths", [LONG, RAGGED])
def test_a_trial_is_at_most_one_epoch_and_at_least_one_segment(lengths: Lengths) -> None:
    for epoch, segments in ((20_000, 4), (5_000, 1), (1_000, 1)):
        plan = plan_trial(POWERS, dataclasses.replace(lengths, total=epoch))
        assert plan == Plan(4096, segments * 4096)


def test_segments_are_whole_steps_of_every_batch_size() -> None:
    plan = plan_trial([6, 10], Lengths(50, True, 10**6, 20_000))
    assert plan.segment_tokens % 300 == plan.segment_tokens % 500 == 0
    assert 4096 <= plan.segment_tokens < 4096 + 1500


def test_segments_of_ragged_examples_hold_a_step_of_the_largest_batch() -> None:
    assert plan_trial([7, 64], RAGGED) == Plan(4096, 65536)
    assert plan_trial([7, 100], RAGGED) == Plan(5000, 80_000)
    assert plan_trial([7], RAGGED, segment_tokens=350).segment_tokens == 350
    with pytest.raises(WorldError, match="at least 350 .*7 examples of 50 tokens.*but got 349"):
        plan_trial([7], RAGGED, segment_tokens=349)


@pytest.mark.parametrize("lengths", [LONG, RAGGED])
def test_a_short_trial_has_shorter_segments(lengths: Lengths) -> None:
    plan = plan_trial([4], lengths, trial_tokens=1024)
    assert plan.trial_tokens == 1024
    assert 1024 % plan.segment_tokens == 0
    assert plan.segment_tokens % (4 * 64) == 0 or not lengths.equal


def test_a_batch_of_everything_makes_an_epoch_of_a_segment_and_sixteen_of_a_trial() -> None:
    examples, lengths = 1000, Lengths(64, True, 64_000, 1000)
    assert plan_trial([examples], lengths) == Plan(64_000, 16 * 64_000)
    assert plan_trial([examples], lengths, trial_tokens=640_000) == Plan(64_000, 640_000)


@pytest.mark.parametrize(
    ("lengths", "asked", "message"),
    [
        (LONG, {"segment_tokens": 4000}, "segment_tokens: must be a multiple of 4096"),
        (LONG, {"segment_tokens": 0}, "segment_tokens: must be a multiple of 4096"),
        (LONG, {"trial_tokens": 5000}, "trial_tokens: must be a multiple of segment_tokens=4096"),
        (LONG, {"trial_tokens": 0}, "trial_tokens: must be a multiple of segment_tokens=4096"),
        (RAGGED, {"segment_tokens": -1}, "segment_tokens: must be at least 3200"),
        (RAGGED, {"trial_tokens": 5000}, "trial_tokens: must be a multiple of segment_tokens=4096"),
        (
            RAGGED,
            {"segment_tokens": 4000, "trial_tokens": 9000},
            "trial_tokens: must be a multiple of segment_tokens=4000",
        ),
    ],
)
def test_lengths_that_do_not_fit_are_refused(
    lengths: Lengths, asked: dict[str, int], message: str
) -> None:
    with pytest.raises(WorldError, match=message) as raised:
        plan_trial(POWERS, lengths, **asked)
    assert "\n" not in str(raised.value)


def test_lengths_are_those_of_the_examples() -> None:
    assert Lengths.of([3, 3, 3]) == Lengths(mean=3, equal=True, total=9, examples=3)
    assert Lengths.of([1, 2, 4]) == Lengths(mean=3, equal=False, total=7, examples=3)


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        (IntegerParameter("batch_size", 4, 64, 8, powers_of_two=True), POWERS),
        (IntegerParameter("batch_size", 1, 2, 1, powers_of_two=True), [1, 2]),
        (ChoiceParameter("batch_size", (6, 10), 6), [6, 10]),
    ],
)
def test_batch_sizes_of_a_space_are_listed(
    batch_size: ChoiceParameter | IntegerParameter, expected: list[int]
) -> None:
    assert batch_sizes(space(batch_size), {}, examples=1000) == expected


def test_a_batch_size_that_is_held_is_the_only_one() -> None:
    rate = SearchSpace("test", (FloatParameter("learning_rate", 1e-4, 1e-1, 1e-3, log=True),))
    assert batch_sizes(rate, {"batch_size": 5}, examples=1000) == [5]
    assert batch_sizes(rate, {"batch_size": "all"}, examples=1000) == [1000]


@pytest.mark.parametrize(
    "batch_size",
    [
        IntegerParameter("batch_size", 4, 64, 8),
        ChoiceParameter("batch_size", ("few", "many"), "few"),
        ChoiceParameter("batch_size", (0, 4), 4),
    ],
)
def test_batch_sizes_that_cannot_be_listed_are_refused(
    batch_size: ChoiceParameter | IntegerParameter,
) -> None:
    with pytest.raises(WorldError, match="powers_of_two"):
        batch_sizes(space(batch_size), {}, examples=1000)
