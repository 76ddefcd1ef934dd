"""Learning-rate shapes, and how tokens are cut into segments and trials."""

import dataclasses
import math

import pytest

from hpopt_envs.errors import WorldError
from hpopt_envs.plan import Lengths, Plan, batch_sizes, plan_trial
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
