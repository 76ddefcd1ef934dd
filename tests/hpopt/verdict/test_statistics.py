"""The statistics of comparisons against scipy, brute force and slow loops."""

import itertools
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from hpopt.errors import StudyError
from hpopt.verdict.statistics import (
    SIGN_DRAWS,
    Array,
    average_ranks,
    bootstrap_interval,
    compute_ratio,
    holm,
    interquartile_mean,
    kaplan_meier_median,
    least_p,
    mean_difference,
    probability_of_improvement,
    sign_flip_p,
)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(8)


def rounded(generator: np.random.Generator, *shape: int) -> Array:
    """Skewed values with ties."""
    return np.round(generator.exponential(size=shape), 1)


def improvement_by_loops(a: list[list[float]], b: list[list[float]]) -> float:
    tasks = []
    for first, second in zip(a, b, strict=True):
        wins = [1.0 if x < y else 0.5 if x == y else 0.0 for x in first for y in second]
        tasks.append(sum(wins) / len(wins))
    return sum(tasks) / len(tasks)


@pytest.mark.parametrize("seeds", range(1, 12))
def test_an_interquartile_mean_is_scipys_trimmed_mean_of_all_blocks(
    generator: np.random.Generator, seeds: int
) -> None:
    values = generator.normal(size=(3, seeds))
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values.ravel(), 0.25))
    values[1, 0] = np.nan
    there = values[~np.isnan(values)]
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(there, 0.25))


def test_the_probability_of_improvement_counts_all_pairs_of_seeds(
    generator: np.random.Generator,
) -> None:
    a, b = rounded(generator, 4, 6), rounded(generator, 4, 6)
    assert (a[:, :, None] == b[:, None]).any()
    slow = improvement_by_loops(a.tolist(), b.tolist())
    assert probability_of_improvement(a, b) == pytest.approx(slow)
    a[2, 1] = b[2, 1] = np.nan
    a[0], b[0] = np.nan, np.nan
    kept = [[[v for v in task if v == v] for task in x[1:].tolist()] for x in (a, b)]
    assert probability_of_improvement(a, b) == pytest.approx(improvement_by_loops(*kept))


def test_average_ranks_are_scipys_over_the_blocks_that_nobody_misses(
    generator: np.random.Generator,
) -> None:
    values = rounded(generator, 5, 4, 6)
    expected = stats.rankdata(values, axis=0).mean(axis=(1, 2))
    assert average_ranks(values) == pytest.approx(expected)
    values[3, 2, 1] = np.nan
    there = values.reshape(5, -1)[:, ~np.isnan(values[3].ravel())]
    assert average_ranks(values) == pytest.approx(stats.rankdata(there, axis=0).mean(axis=1))
    assert np.isnan(average_ranks(np.full((2, 1, 3), np.nan))).all()


def iqm_of_lists(a: list[list[float]], _: list[list[float]]) -> float:
    return float(stats.trim_mean(np.concatenate(a), 0.25))


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (lambda a, _: interquartile_mean(a), iqm_of_lists),
        (probability_of_improvement, improvement_by_loops),
    ],
    ids=["interquartile mean", "probability of improvement"],
)
def test_a_bootstrap_interval_is_that_of_an_explicit_loop(
    generator: np.random.Generator,
    fast: Callable[[Array, Array], Array],
    slow: Callable[[list[list[float]], list[list[float]]], float],
) -> None:
    a = np.array([[0.0], [1.0], [3.0]]) + generator.normal(size=(3, 6))
    b = a + generator.normal(0.4, 0.8, size=a.shape)
    a[1, 4:] = np.nan  # two of six are missing in one, one in the other
    b[1, 0] = np.nan
    pairs = [
        [(x, y) for x, y in zip(*task, strict=True) if not math.isnan(x + y)]
        for task in zip(a.tolist(), b.tolist(), strict=True)
    ]
    rng, resamples = random.Random(1), 1_000
    loop = []
    for _ in range(resamples):
        drawn = [[rng.choice(task) for _ in task] for task in pairs]
        loop.append(slow(*([[pair[i] for pair in task] for task in drawn] for i in (0, 1))))
    expected = np.quantile(loop, [0.025, 0.975])
    runs = np.array(
        [bootstrap_interval(fast, a, b, generator=generator, resamples=1_000) for _ in range(30)]
    )
    # Ours scatters from run to run; the loop must lie where one more run would.
    assert (np.abs(runs.mean(axis=0) - expected) < 4 * runs.std(axis=0, ddof=1)).all()
    assert (runs[:, 1] > runs[:, 0]).all()


def test_a_bootstrap_draws_the_same_seeds_for_what_is_paired_and_never_mixes_tasks(
    generator: np.random.Generator,
) -> None:
    values = generator.normal(size=(4, 5))
    shifted = bootstrap_interval(mean_difference, values, values + 1, generator=generator)
    assert shifted == pytest.approx((-1, -1))
    tasks = np.repeat([[0.0], [10.0], [20.0]], 5, axis=1)
    mean = float(interquartile_mean(tasks))
    within = bootstrap_interval(interquartile_mean, tasks, generator=generator)
    assert within == pytest.approx((mean, mean))


def test_one_seed_a_task_has_no_bootstrap_interval(generator: np.random.Generator) -> None:
    one = generator.normal(size=(7, 1))
    assert bootstrap_interval(interquartile_mean, one, generator=generator) is None


@pytest.mark.parametrize("blocks", range(2, 11))
def test_up_to_sixteen_blocks_the_sign_flip_test_tries_every_pattern(
    generator: np.random.Generator, blocks: int
) -> None:
    for shift in (0.0, 0.7):
        # Tenths, whose sums differ by rounding where they are equal.
        differences = np.round(generator.normal(shift, 1, size=blocks), 1)
        observed = abs(round(10 * differences.sum()))
        whole = [round(10 * d) for d in differences]
        extreme = sum(
            abs(sum(s * d for s, d in zip(signs, whole, strict=True))) >= observed
            for signs in itertools.product((-1, 1), repeat=blocks)
        )
        p = sign_flip_p(differences, generator)
        assert p == extreme / 2**blocks
        scipys = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert p == pytest.approx(scipys)


def test_above_sixteen_blocks_drawn_patterns_come_near_the_exact_p(
    generator: np.random.Generator,
) -> None:
    patterns = np.array(list(itertools.product((-1, 1), repeat=17)), dtype=np.int8)
    for shift in (0.1, 0.4, 0.7):
        differences = generator.normal(shift, 1, size=17)
        exact = np.mean(np.abs(patterns @ differences) >= abs(differences.sum()) - 1e-9)
        error = math.sqrt(exact * (1 - exact) / SIGN_DRAWS)
        assert sign_flip_p(differences, generator) == pytest.approx(exact, abs=4 * error)


def test_a_sign_flip_p_is_never_zero_and_one_where_nothing_differs(
    generator: np.random.Generator,
) -> None:
    assert sign_flip_p(np.ones(40), generator) == 1 / (1 + SIGN_DRAWS)
    for blocks in (0, 1, 9, 40):
        assert sign_flip_p(np.zeros(blocks), generator) == 1
    with pytest.raises(StudyError, match="must be finite"):
        sign_flip_p(np.array([1.0, np.nan]), generator)


@pytest.mark.parametrize("blocks", [1, 2, 5, 10])
def test_the_least_p_is_that_of_blocks_that_all_agree(
    generator: np.random.Generator, blocks: int
) -> None:
    assert least_p(blocks) == sign_flip_p(generator.uniform(1, 2, size=blocks), generator)


def test_holms_adjusted_p_is_the_worst_bonferroni_of_any_subset(
    generator: np.random.Generator,
) -> None:
    for size in (1, 2, 5, 7):
        p_values = [*np.round(generator.beta(0.5, 3, size=size), 2).tolist(), 0.02]
        # Holm is the closure of Bonferroni tests of every intersection.
        subsets = [
            subset
            for count in range(1, size + 2)
            for subset in itertools.combinations(range(size + 1), count)
        ]
        expected = [
            max(min(1, len(s) * min(p_values[j] for j in s)) for s in subsets if i in s)
            for i in range(size + 1)
        ]
        assert holm(p_values) == pytest.approx(expected)
    assert holm([]) == []


def test_a_kaplan_meier_median_is_scipys(generator: np.random.Generator) -> None:
    unreached = 0
    for _ in range(60):
        times = rounded(generator, 3, 5)
        reached = (generator.random((3, 5)) < 0.6).astype(float)
        times[0, 0] = reached[0, 0] = np.nan
        sample = stats.CensoredData(uncensored=times[reached == 1], right=times[reached == 0])
        survival = stats.ecdf(sample).sf
        below = survival.quantiles[survival.probabilities <= 0.5 + 1e-12]
        expected = below[0] if below.size else np.inf
        unreached += not below.size
        assert kaplan_meier_median(times, reached) == expected
    assert 0 < unreached < 60


def test_a_compute_ratio_is_the_median_of_what_the_other_needed(
    generator: np.random.Generator,
) -> None:
    own = np.array([[1.0, 2.0, 4.0, 2.0, np.nan]])
    other = np.array([[2.0, 6.0, np.inf, 8.0, np.nan]])  # ratios 2, 3, more than 5, 4
    found = compute_ratio(own, other, 20, generator)
    assert found is not None
    assert (found.value, found.reached, found.blocks, found.censored) == (3, True, 4, 1)
    assert found.interval is not None
    assert found.interval[0] == 2
    assert found.interval[1] == math.inf
    assert compute_ratio(own * np.nan, other, 20, generator) is None


def test_a_compute_ratio_that_most_never_reach_is_a_lower_bound(
    generator: np.random.Generator,
) -> None:
    own = np.array([[1.0, 2.0, 4.0, 5.0, 10.0]])
    other = np.array([[np.inf, np.inf, np.inf, 5.0, 20.0]])  # > 20, > 10, > 5, 1, 2
    found = compute_ratio(own, other, 20, generator)
    assert found is not None
    assert (found.value, found.reached, found.censored) == (5, False, 3)


def test_one_block_in_which_the_leader_was_quick_does_not_decide_a_compute_ratio(
    generator: np.random.Generator,
) -> None:
    own = np.array([[1.0, 10.0, 10.0, 10.0, 10.0]])
    other = np.array([[4.0, np.inf, np.inf, np.inf, np.inf]])  # 4, > 2, four times
    assert kaplan_meier_median(np.array([[4.0, 2, 2, 2, 2]]), np.array([[1.0, 0, 0, 0, 0]])) == 4
    found = compute_ratio(own, other, 20, generator)
    assert found is not None
    assert (found.value, found.reached, found.censored) == (2, False, 4)
