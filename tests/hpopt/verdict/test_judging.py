"""What a comparison is said to show, and its words."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hpopt.record.judged import Judged
from hpopt.verdict.judging import judge
from hpopt.verdict.tables import markdown, sentence, table, to_json
from hpopt_envs.records import RunFacts
from tests.hpopt.verdict.comparing import Compare, curve, row_of, said


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
