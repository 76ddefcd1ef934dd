"""What a comparison is said to show: the level and the power of its test, and its words."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest  # type: ignore[import-untyped]

from hpopt.record.judged import Judged
from hpopt.verdict.judging import Conclusion, Row, Verdict, blocks_warning, judge, sign_flips
from hpopt.verdict.outcome import Comparison, Curve
from hpopt.verdict.statistics import holm, sign_flip_p
from hpopt.verdict.tables import markdown, sentence, table, to_json
from hpopt_envs.records import RunFacts

Array = NDArray[np.float64]
Compare = Callable[..., Comparison]
EQUIVALENTS = 10


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(8)


@pytest.fixture
def compare(facts: RunFacts) -> Compare:
    """Makes a comparison out of final values, or whole curves, by searcher.

    An array has the shape (tasks, seeds); NaN is a study that didn't finish. Every task goes from
    1 at the base model to 0 at the best known, so that values are regrets.
    """

    def made(finals: Mapping[str, Array] | None = None, **curves: Curve) -> Comparison:
        finals = finals or {name: np.zeros((1, 1)) for name in curves}
        tasks, seeds = next(iter(finals.values())).shape
        return Comparison(
            name="otter",
            tasks=tuple(f"task-{t}" for t in range(tasks)),
            searchers=tuple(finals),
            seeds=tuple(range(seeds)),
            against="tpe",
            equivalents=EQUIVALENTS,
            facts={
                f"task-{t}": replace(facts, base_objective=1.0, best_objective=0.0)
                for t in range(tasks)
            },
            curves={
                (f"task-{t}", name, s): curves.get(name, Curve((2.0,), (float(values[t, s]),), 7))
                for name, values in finals.items()
                for t, s in np.ndindex(tasks, seeds)
                if not np.isnan(values[t, s])
            },
            confirmed={},
            best_values={},
        )

    return made


def row_of(verdict: Verdict, searcher: str) -> Row:
    return next(row for row in verdict.rows if row.searcher == searcher)


def said(comparison: Comparison, searcher: str, generator: np.random.Generator) -> str:
    verdict = judge(comparison, generator)
    return sentence(verdict, row_of(verdict, searcher))


def curve(*points: tuple[float, float]) -> Curve:
    """Of points (cost, value)."""
    costs, values = zip(*points, strict=True) if points else ((), ())
    return Curve(costs, values, 7)


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


def test_what_is_shown_names_who_is_better_and_what_the_other_pays(
    compare: Compare, generator: np.random.Generator
) -> None:
    shape = np.zeros((4, 3))
    quick, slow = curve((1, 0.5), (2, 0.25)), curve((1, 0.9), (5, 0.256), (9, 0.254))
    better = compare({"ppo": shape, "tpe": shape}, ppo=quick, tpe=slow)
    same = "tpe's mean regret is lower by 0.004 [0.004, 0.004]"
    # 0.256 lies within ε of 0.25.
    assert said(better, "ppo", generator) == (
        "ppo beats tpe: tpe reached ppo's result with 2.5× [2.5, 2.5] the compute (p < 0.001); "
        + same.replace("tpe", "ppo")
        + "."
    )
    worse = compare({"ppo": shape, "tpe": shape}, ppo=slow, tpe=quick)
    assert said(worse, "ppo", generator) == (
        "ppo loses to tpe: ppo reached tpe's result with 2.5× [2.5, 2.5] the compute (p < 0.001); "
        f"{same}."
    )
    assert said(worse, "tpe", generator) == "tpe: what the others are compared with."


def test_a_result_that_the_other_never_reached_costs_more_than_the_budget_allowed(
    compare: Compare, generator: np.random.Generator
) -> None:
    shape = np.zeros((4, 3))
    # What came after the budget doesn't count, for either.
    leader = curve((4, 0.25), (11, 0.0))
    follower = curve((1, 0.9), (5, 0.5), (10.5, 0.2))
    text = said(
        compare({"ppo": shape, "tpe": shape}, ppo=leader, tpe=follower),
        "ppo",
        generator,
    )
    assert "tpe needs more than 2.5× the compute for ppo's result (p < 0.001)" in text


def test_blocks_in_which_the_other_never_got_there_are_counted(
    compare: Compare, generator: np.random.Generator
) -> None:
    shape = np.zeros((4, 3))
    comparison = compare({"ppo": shape, "tpe": shape}, ppo=curve((4, 0.25)), tpe=curve((8, 0.251)))
    short = {("task-3", "tpe", seed): curve((8, 0.5)) for seed in range(3)}
    text = said(replace(comparison, curves={**comparison.curves, **short}), "ppo", generator)
    reached = "tpe reached ppo's result with 2.0× [2.0, 2.0] the compute"
    assert f"{reached}, but never in 3 of 12 blocks (p < 0.001)" in text


def test_a_leader_no_better_than_the_base_model_says_nothing_of_compute(
    compare: Compare, generator: np.random.Generator
) -> None:
    shape = np.zeros((4, 3))
    nothing = curve()
    hardly = curve((3, 0.995))
    text = said(
        compare({"ppo": shape, "tpe": shape}, ppo=hardly, tpe=nothing),
        "ppo",
        generator,
    )
    assert text.startswith("ppo beats tpe: ppo's mean regret is lower by 0.005")


def test_no_difference_and_too_few_blocks_are_told_apart(
    compare: Compare, generator: np.random.Generator
) -> None:
    a, b = generator.uniform(0.2, 0.5, size=(2, 5, 3))
    b += a.mean() - b.mean() + 0.01
    many = judge(compare({"ppo": a, "tpe": b}), generator)
    row = row_of(many, "ppo")
    assert row.contrast is not None
    low, high = row.contrast.difference.interval or (0, 0)
    assert low < row.contrast.difference.value < 0 < high
    assert sentence(many, row) == (
        f"ppo against tpe: no difference shown (p = {row.contrast.test.adjusted_p:.2g}); "
        f"ppo's mean regret is lower by 0.010 [{-high:.3f}, {-low:.3f}]."
    )
    few = said(compare({"ppo": a[:1], "tpe": a[:1] + 0.1}), "ppo", generator)
    assert few == (
        "ppo against tpe: too few blocks to tell (3 blocks, 6 needed); "
        "ppo's mean regret is lower by 0.100 [0.100, 0.100]."
    )


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


def test_rows_have_regret_rank_and_probability_and_the_best_comes_first(
    compare: Compare, generator: np.random.Generator
) -> None:
    tpe = generator.uniform(0.2, 0.5, size=(3, 4))
    verdict = judge(compare({"random": tpe + 0.2, "tpe": tpe, "ppo": tpe - 0.1}), generator)
    assert [row.searcher for row in verdict.rows] == ["ppo", "tpe", "random"]
    assert [row.rank for row in verdict.rows] == [1, 2, 3]
    assert verdict.checkpoints == (1, 2, 3, 5, 8, 10)
    best = verdict.rows[0]
    # Its only trial ended at a cost of 2.
    regrets = [estimate.value for estimate in best.regrets if estimate is not None]
    middle = np.sort((tpe - 0.1).ravel())[3:-3].mean()
    assert regrets == pytest.approx([1, middle, middle, middle, middle, middle])
    assert best.contrast is not None
    wins = ((tpe - 0.1)[:, :, None] < tpe[:, None]).mean()
    assert best.contrast.improvement.value == pytest.approx(wins)
    low, high = best.contrast.improvement.interval or (1, 0)
    assert low < wins < high
    lines = markdown(verdict).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split()[1] for line in lines[2:]] == ["ppo", "tpe", "random"]
    assert lines[0].split("|")[2:8] == [" regret at 1 ", " 2 ", " 3 ", " 5 ", " 8 ", " 10 "]
    assert [line.split()[0] for line in table(verdict)[1:4]] == ["ppo", "tpe", "random"]


def test_optimism_and_noise_are_shares_of_the_gap_to_the_best_known(
    compare: Compare, generator: np.random.Generator, facts: RunFacts
) -> None:
    comparison = compare({"ppo": np.full((2, 6), 0.2), "tpe": np.full((2, 6), 0.3)})
    wide = replace(facts, base_objective=4.0, best_objective=2.0)
    judged = {
        ("task-0", "ppo"): Judged((0.4, 0.6), (), ()),
        ("task-1", "ppo"): Judged((2.5, 2.9), (), ()),
        ("task-1", "tpe"): Judged((), (), ("exploded",)),
    }
    comparison = replace(
        comparison,
        facts={**comparison.facts, "task-1": wide},
        confirmed=judged,
        best_values={("task-0", "ppo"): 0.4, ("task-1", "ppo"): 2.5, ("task-1", "tpe"): 2.5},
    )
    verdict = judge(comparison, generator)
    row = row_of(verdict, "ppo")
    # (0.5 − 0.4) / 1 and (2.7 − 2.5) / 2; standard deviations 0.2/√2 of 1 and 0.4/√2 of 2.
    assert row.optimism == pytest.approx(0.1)
    assert row.noise == pytest.approx(0.2 / np.sqrt(2))
    assert row_of(verdict, "tpe").optimism is None
    assert "| 0.100 | 0.141 |" in markdown(verdict)


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


def test_a_verdict_is_plain_data_without_nan_or_infinity(
    compare: Compare, generator: np.random.Generator
) -> None:
    shape = np.zeros((4, 3))
    never = compare({"ppo": shape, "tpe": shape}, ppo=curve((4, 0.25)), tpe=curve((1, 0.9)))
    verdict = judge(never, generator)
    read = json.loads(json.dumps(to_json(verdict), allow_nan=False))
    ppo, tpe = read["rows"]
    assert ppo["sentence"] == sentence(verdict, verdict.rows[0])
    assert ppo["contrast"]["test"]["conclusion"] == "better"
    assert ppo["contrast"]["compute"]["interval"] == [None, None]
    assert ppo["contrast"]["compute"]["reached"] is False
    assert tpe["contrast"] is None
