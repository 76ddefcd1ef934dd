"""Learning-rate shapes, and how tokens are cut into segments and trials."""

import math

import pytest

from hpopt_envs.errors import WorldError
from hpopt_envs.plan import plan_trial
from hpopt_envs.training.schedules import shape_factor
from hpopt_search_spaces import ChoiceParameter, FloatParameter, IntegerParameter, SearchSpace


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


def space(batch_size: ChoiceParameter | IntegerParameter) -> SearchSpace:
    rate = FloatParameter("learning_rate", 1e-4, 1e-1, 1e-3, log=True)
    return SearchSpace("test", (rate, batch_size))


POWERS = space(IntegerParameter("batch_size", 4, 64, 8, powers_of_two=True))


def test_default_trial_is_sixteen_segments_of_4096_tokens() -> None:
    plan = plan_trial(POWERS, example_tokens=64, epoch_tokens=10**6)
    assert (plan.segment_tokens, plan.trial_tokens) == (4096, 65536)


def test_a_trial_is_at_most_one_epoch() -> None:
    assert plan_trial(POWERS, 64, epoch_tokens=20_000).trial_tokens == 4 * 4096


def test_segments_are_whole_steps_of_every_batch_size() -> None:
    plan = plan_trial(space(ChoiceParameter("batch_size", (6, 10), 6)), 50, 10**6)
    assert plan.segment_tokens % 300 == plan.segment_tokens % 500 == 0
    assert 4096 <= plan.segment_tokens < 4096 + 1500


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"segment_tokens": 4000}, "segment_tokens: must be a multiple of 4096"),
        ({"trial_tokens": 5000}, "trial_tokens: must be a multiple of segment_tokens=4096"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths: dict[str, int], message: str) -> None:
    with pytest.raises(WorldError, match=message):
        plan_trial(POWERS, 64, 10**6, **lengths)


def test_batch_sizes_that_cannot_be_listed_are_refused() -> None:
    with pytest.raises(WorldError, match="powers_of_two"):
        plan_trial(space(IntegerParameter("batch_size", 4, 64, 8)), 64, 10**6)
