"""The level and the power of a comparison's test."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest  # type: ignore[import-untyped]

from hpopt.verdict.judging import Conclusion, blocks_warning, judge, sign_flips
from hpopt.verdict.statistics import holm, sign_flip_p
from hpopt.verdict.tables import sentence, table
from tests.hpopt.verdict.comparing import Compare, row_of


@pytest.mark.parametrize(("tasks", "seeds"), [(5, 2), (10, 3)])
def test_the_same_searcher_twice_is_seldom_told_apart(
    compare: Compare, generator: np.random.Generator, tasks: int, seeds: int
) -> None:
    false = 0
    for _ in range(1_000):
        # Tasks differ in how hard and how noisy they are; regrets are skewed.
        level, noise = generator.uniform(0.05, 0.3, size=(2, tasks, 1))
        regrets = level + noise * generator.exponential(size=(2, tasks, seeds))
        test = sign_flips(compare({"ppo": regrets[0], "tpe": regrets[1]}), generator)["ppo"]
        assert test.blocks == tasks * seeds
        false += test.conclusion in (Conclusion.BETTER, Conclusion.WORSE)
    assert binomtest(false, 1_000).proportion_ci(0.95, "exact").high <= 0.08


def test_a_shift_of_one_standard_deviation_is_found_as_often_as_brute_force_says(
    compare: Compare, generator: np.random.Generator
) -> None:
    deviation, simulated, brute = 0.05, 1_000, 10_000
    found = 0
    for _ in range(simulated):
        task = generator.uniform(0.2, 0.5, size=(5, 1))
        noise = generator.normal(0, deviation / np.sqrt(2), size=(2, 5, 2))
        values = {"ppo": task + noise[0] - deviation, "tpe": task + noise[1]}
        conclusion = sign_flips(compare(values), generator)["ppo"].conclusion
        assert conclusion is not Conclusion.WORSE
        found += conclusion is Conclusion.BETTER
    # Independently: differences of ten pairs, their standard deviation 1 and their mean −1.
    signs = np.array(list(product((-1, 1), repeat=10)))
    differences = np.random.default_rng(80).normal(-1, 1, size=(brute, 10))
    sums = np.abs(differences @ signs.T)
    p_values = np.mean(sums >= np.abs(differences.sum(axis=1, keepdims=True)) - 1e-9, axis=1)
    power = np.mean(p_values <= 0.05)
    assert 0.6 < power < 0.95
    error = np.sqrt(power * (1 - power) * (1 / simulated + 1 / brute))
    assert found / simulated == pytest.approx(power, abs=3 * error)


def test_p_is_corrected_for_every_searcher_of_the_comparison(
    compare: Compare, generator: np.random.Generator
) -> None:
    tpe = generator.uniform(0.2, 0.5, size=(7, 1))
    others = {f"s{i}": tpe - generator.normal(0.05, 0.04, size=(7, 1)) for i in range(3)}
    tests = sign_flips(compare({**others, "tpe": tpe}), generator)
    p_values = [sign_flip_p((values - tpe).ravel(), generator) for values in others.values()]
    assert [tests[name].p for name in others] == pytest.approx(p_values)
    assert [tests[name].adjusted_p for name in others] == pytest.approx(holm(p_values))
    # All seven blocks agree: enough for one comparison, too few for four.
    better = {"ppo": tpe - 0.1, "tpe": tpe}
    assert sign_flips(compare(better), generator)["ppo"].conclusion is Conclusion.BETTER
    four = {**better, **others}
    assert sign_flips(compare(four), generator)["ppo"].conclusion is Conclusion.TOO_FEW


def test_only_blocks_that_both_finished_count(
    compare: Compare, generator: np.random.Generator
) -> None:
    tpe = generator.uniform(0.2, 0.5, size=(4, 3))
    ppo = tpe - 0.1
    late = np.full((4, 3), np.nan)
    ppo[0] = np.nan
    ppo[1, 1], tpe[2, 2] = np.nan, np.nan
    verdict = judge(compare({"ppo": ppo, "late": late, "tpe": tpe}), generator)
    row = row_of(verdict, "ppo")
    assert row.contrast is not None
    assert (row.studies, row.trials, row.contrast.test.blocks) == (8, 56, 7)
    assert row.contrast.difference.value == pytest.approx(-0.1)
    assert row.contrast.compute is not None
    assert row.contrast.compute.blocks == 7
    assert verdict.rows[-1].searcher == "late"
    assert "no task and seed on which both" in sentence(verdict, verdict.rows[-1])
    assert "late" in table(verdict)[3]


@pytest.mark.parametrize("comparisons", [1, 2, 4, 7])
def test_a_comparison_is_warned_of_when_even_unanimous_blocks_show_nothing(
    generator: np.random.Generator, comparisons: int
) -> None:
    warned = [blocks for blocks in range(1, 16) if blocks_warning(blocks, comparisons)]
    # The best that can happen to one searcher, when the others show nothing.
    helpless = [
        blocks
        for blocks in range(1, 16)
        if holm([sign_flip_p(np.ones(blocks), generator), *[1.0] * (comparisons - 1)])[0] > 0.05
    ]
    assert warned == helpless
    assert f"{helpless[-1] + 1} blocks would do" in str(blocks_warning(3, comparisons))
