"""What a race shows, against closed forms and another library's statistics."""

import math
from statistics import mean, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from hpopt.record.race import CONFIDENCE, Difference, Noise, affordable, chosen, still_in

SEEDED = np.random.default_rng(0)
TWO = {"a": list(SEEDED.normal(1.0, 0.2, 6)), "b": list(SEEDED.normal(1.3, 0.2, 6))}
VALUES = st.dictionaries(
    st.sampled_from("abcde"),
    st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    min_size=2,
)


def test_the_noise_of_a_whole_table_is_what_analysis_of_variance_leaves() -> None:
    table = np.random.default_rng(1).normal(size=(4, 5))
    left = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    noise = Noise.of({str(row): list(values) for row, values in enumerate(table)})
    assert noise.degrees == 3 * 4
    assert noise.deviation == pytest.approx(math.sqrt((left**2).sum() / 12))


def test_an_interval_of_two_is_the_paired_t_test_s() -> None:
    difference = Difference.between(TWO["a"], TWO["b"], Noise.of(TWO))
    low, high = ttest_rel(TWO["b"], TWO["a"]).confidence_interval(CONFIDENCE)
    assert difference.mean - difference.uncertainty == pytest.approx(low)
    assert difference.mean + difference.uncertainty == pytest.approx(high)
    assert bool(difference.is_shown) is bool(low > 0)


def test_what_seeds_do_to_all_alike_is_no_noise() -> None:
    shift = (0.0, 5.0, -3.0, 8.0)
    values = {"a": [1.0 + s for s in shift], "b": [2.0 + s for s in shift]}
    noise = Noise.of(values)
    assert noise.deviation == pytest.approx(0.0, abs=1e-9)
    assert Difference.between(values["a"], values["b"], noise).is_shown


def test_with_few_values_those_of_the_search_count_and_seeds_are_noise() -> None:
    noise = Noise.of({"a": [1.0], "b": [2.0]}, {"a": 1.3, "c": 9.0})
    assert (noise.degrees, noise.deviation) == (1, pytest.approx(math.sqrt(variance([1.0, 1.3]))))
    twice = Noise.of({"a": [1.0, 1.2], "b": [2.0, 2.1]})
    assert twice.degrees == 2
    assert twice.deviation**2 == pytest.approx(mean([variance([1.0, 1.2]), variance([2.0, 2.1])]))


def test_without_anything_run_twice_nothing_is_shown() -> None:
    values = {"default": [2.0], "trial 1": [1.0]}
    noise = Noise.of(values)
    assert noise.degrees == 0
    assert chosen(values, noise, ["default"]) == "default"
    assert still_in(values, noise, "default") == ["default", "trial 1"]


@given(VALUES)
def test_the_best_stays_in_and_whoever_is_chosen_is_the_best_or_kept(
    values: dict[str, list[float]],
) -> None:
    first, noise = min(values), Noise.of(values)
    best = min(mean(of) for of in values.values())
    left = still_in(values, noise, first)
    assert first in left
    assert best in [mean(values[name]) for name in left]
    found = chosen(values, noise, [first])
    assert found == first or mean(values[found]) == best
    if found != first:
        assert Difference.between(values[found], values[first], noise).is_shown
        assert mean(values[found]) < mean(values[first])


def test_of_equal_ones_the_incumbent_is_kept_and_of_others_the_first() -> None:
    tie = {"default": [1.0] * 3, "trial 4": [1.0] * 3, "trial 2": [1.0] * 3}
    assert chosen(tie, Noise.of(tie), ["default"]) == "default"
    better = tie | {"default": [2.0] * 3}
    assert chosen(better, Noise.of(better), ["default"]) == "trial 4"


def test_the_baseline_is_kept_before_the_default() -> None:
    alike = {"baseline": [1.0, 1.4, 1.2], "default": [1.3, 1.0, 1.2], "trial 1": [1.1, 1.2, 1.1]}
    assert chosen(alike, Noise.of(alike), ["baseline", "default"]) == "baseline"
    worse = alike | {"baseline": [5.0, 5.4, 5.2]}
    assert chosen(worse, Noise.of(worse), ["baseline", "default"]) == "default"


def test_who_is_out_stays_out_however_well_it_began() -> None:
    values = {"default": [2.0, 2.1, 2.0], "trial 1": [1.0, 1.1, 1.0], "trial 2": [0.5]}
    assert chosen(values, Noise.of(values), ["default"]) == "trial 1"


@pytest.mark.parametrize(
    ("purse", "left"),
    [
        (40.0, ["default", "trial 1", "trial 2"]),
        (39.9, ["default", "trial 1"]),
        (30.0, ["default", "trial 1"]),
        (29.9, []),
    ],
)
def test_the_last_of_the_others_stay_behind_where_money_is_short(
    purse: float, left: list[str]
) -> None:
    values = {"default": [3.0], "trial 2": [2.0], "trial 1": [1.0]}
    costs = {"default": 20.0, "trial 1": 10.0, "trial 2": 10.0}
    assert affordable(values, costs, purse, ["default", "baseline"]) == left
