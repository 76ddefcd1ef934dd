"""What a person reads at the end of a study."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from rich.cells import cell_len

from hpopt.cli.summary import report
from hpopt.record.history import History
from hpopt.settings.study import Settings
from hpopt.study.result import StudyResult
from hpopt.tracking import Incomplete
from hpopt_envs.records import Outcome
from hpopt_search_spaces import SearchSpace


@pytest.fixture
def tell(
    new_script: Callable[..., Any], space: SearchSpace, tmp_path: Path
) -> Callable[..., list[str]]:
    """Returns the lines of the report on trials with these values, by default 3.0 and 2.5."""

    def told(
        final: Mapping[str, Sequence[float | str]] = MappingProxyType({}),
        *,
        metrics: Callable[[float], Mapping[str, float]] = lambda value: {},
        values: tuple[float, ...] = (3.0, 2.5),
        divergences: tuple[float, ...] = (0.0, 0.0),
        facts: Mapping[str, Any] = MappingProxyType({}),
        schedule: Callable[[int, Mapping[str, Any]], Mapping[str, Any]] = lambda _, held: held,
        error: str | None = None,
        **settings: Any,
    ) -> list[str]:
        script = new_script(**facts)
        for trial, value in enumerate(values):
            script.trial(trial, 3.75, 3.5, 3.25, value, divergence=divergences[trial])
        script.start(len(values))
        script.segment(len(values), 0, None, outcome=Outcome.EXPLODED, reason="the loss became inf")
        script.final(final, metrics)
        history = History()
        for event in script.events:
            history.apply(event)
        if history.best is not None:
            path = [
                replace(segment, hyperparameters=schedule(segment.id, segment.hyperparameters))
                for segment in history.best.segments
            ]
            history.best = replace(history.best, segments=tuple(path))
        result = StudyResult("otter", tmp_path, history, space, 75.0, error)
        return report(result, Settings.of(settings)).splitlines()

    return told


@pytest.mark.parametrize(("value", "said"), [(3.99, False), (4.0, True)])
def test_a_winner_that_is_no_better_than_the_base_model_is_called_that(
    tell: Callable[..., list[str]], value: float, said: bool
) -> None:
    lines = tell(values=(value, 5.0))
    assert lines[1].startswith("Winner: trial 0 ")
    assert ("It is no better than the base model." in lines) is said


def after(lines: list[str], begin: str, count: int) -> list[list[str]]:
    """Return the cells of the lines below one that begins so."""
    at = next(i for i, line in enumerate(lines) if line.startswith(begin))
    return [re.split(" {2,}", line.strip()) for line in lines[at + 1 : at + 1 + count]]


def recommends(lines: list[str]) -> str:
    (line,) = [line for line in lines if line.startswith("Recommended: ")]
    return line.removeprefix("Recommended: ")


def test_a_finalist_that_is_better_is_recommended(tell: Callable[..., list[str]]) -> None:
    lines = tell({"default": (3.0, 3.02, 3.04), "trial 1": (2.5, 2.54, 2.52)})
    assert lines[1] == (
        "Winner: trial 1 with 2.5000 on validation (base model 4.0000), "
        "found after 32,768 training tokens."
    )
    assert after(lines, "The final, on validation", 2) == [
        ["default", "3.0200", "(3 fresh seeds)"],
        ["trial 1", "2.5200", "(3 fresh seeds)"],
    ]
    assert after(lines, "On the test split", 3) == [
        ["recommended (trial 1)", "default"],
        ["objective", "2.7700 ± 0.0200", "3.2700 ± 0.0200"],
        ["loss", "2.7700", "3.2700"],
    ]
    assert recommends(lines).startswith("trial 1. Trial 1 is better than the default by 0.5000 ± ")
    assert recommends(lines).endswith(" on validation (80% interval, 3 paired fresh seeds).")
    (told,) = [line for line in lines if line.startswith("On test, ")]
    assert told.startswith("On test, trial 1 is better than the default by 0.5000 ± ")
    assert any(line.startswith("  0%–100%    learning_rate=") for line in lines)
    cost = next(line for line in lines if line.startswith("Cost: "))
    assert cost.startswith("Cost: 76,004 token-equivalents")  # 1,000 and 15 segments of 5,000.25
    assert "3 trials with 36,864 training tokens, and 30,002 for the final; 1 min 15 s." in cost


def test_the_default_is_kept_where_the_best_may_be_chance(tell: Callable[..., list[str]]) -> None:
    lines = tell({"default": (3.0, 2.5, 2.6), "trial 1": (2.5, 2.7, 2.6)})
    assert recommends(lines).startswith("default. The default is kept: trial 1 is better by 0.1000")
    assert recommends(lines).endswith("which may be chance.")
    begin = lines.index("Schedule to paste (in fractions of the run):")
    assert "learning_rate=0.15" in lines[begin + 1]  # the default's of a model of ten parameters


def test_a_tie_keeps_the_default(tell: Callable[..., list[str]]) -> None:
    lines = tell({"default": (3.0, 3.0), "trial 1": (3.0, 3.0)})
    assert "The default is as good as trial 1 on validation" in recommends(lines)


@pytest.mark.parametrize(
    ("default", "winner", "said"),
    [
        ((2.25, 2.26), (2.5, 2.51), "The default is better than trial 1 by 0.2500"),
        ((2.75,), (2.6,), "The default is kept: trial 1 is better by 0.1500 ± 0.3078"),
        ((2.75,), (2.5,), "is better by 0.2500 on validation (one fresh seed, the noise of which"),
        (("exploded", 2.5), (2.5, 2.51), "Trial 1 alone has a value on every fresh seed"),
    ],
)
def test_a_recommendation_claims_no_more_than_the_seeds_show(
    tell: Callable[..., list[str]],
    default: tuple[float | str, ...],
    winner: tuple[float, ...],
    said: str,
) -> None:
    """Where there is one seed, the winner's value in the search, 2.5, says what noise there is."""
    assert said in recommends(tell({"default": default, "trial 1": winner}))


def test_failures_on_fresh_seeds_are_told(tell: Callable[..., list[str]]) -> None:
    lines = tell({"default": (3.0, 3.1), "trial 1": (2.5, "the loss became inf")})
    assert after(lines, "The final", 2)[1] == [
        "trial 1",
        "2.5000",
        "(1 fresh seed); failed: the loss became inf",
    ]
    assert recommends(lines).startswith("default. ")


def test_a_baseline_stands_beside_the_default(tell: Callable[..., list[str]]) -> None:
    told = {"default": (3.0, 3.01), "baseline": (3.5, 3.51), "trial 1": (2.5, 2.51)}
    lines = tell(told, facts={"baseline": {"learning_rate": 1e-3}})
    assert "better than the baseline by 1.0000" in recommends(lines)
    assert "and than the default by 0.5000" in recommends(lines)
    heads = after(lines, "On the test split", 1)
    assert heads == [["recommended (trial 1)", "baseline", "default"]]


def test_without_a_final_nothing_is_claimed(tell: Callable[..., list[str]]) -> None:
    assert recommends(tell()) == (
        "trial 1. Trial 1 ended best of 3 trials; nothing was run again to tell that from luck."
    )


def test_a_metric_to_be_maximised_is_shown_as_itself(tell: Callable[..., list[str]]) -> None:
    final = {"default": (-0.7, -0.72), "trial 1": (-0.9, -0.92)}
    lines = tell(final, values=(-0.75, -0.875), facts={"maximize": True})
    assert "Winner: trial 1 with 0.8750 on validation" in lines[1]
    assert after(lines, "The final", 2)[1][:2] == ["trial 1", "0.9100"]
    assert "Trial 1 is better than the default by 0.2000" in recommends(lines)


LIMIT = {"max_divergence": 0.5}


def test_under_a_limit_test_divergence_is_beside_it_and_marked_where_it_is_over(
    tell: Callable[..., list[str]],
) -> None:
    final = {"default": (2.0, 2.1), "trial 1": (2.5, 2.6)}
    lines = tell(
        final,
        metrics=lambda value: {"divergence": 0.5125 if value < 2.5 else 0.4321},
        divergences=(0.6, 0.5),
        facts=LIMIT,
    )
    assert lines[1].startswith("Winner: trial 1 with 2.5000 and divergence 0.5000 on validation")
    assert ["divergence", "0.5125 (over limit 0.5)"] in after(lines, "On the test split", 5)
    over = "The recommended (default) exceeds the limit on divergence on fresh seeds: 0.5125"
    assert any(line.startswith(over) for line in lines)


def test_a_study_in_which_no_trial_keeps_the_limit_says_which_came_nearest(
    tell: Callable[..., list[str]],
) -> None:
    lines = tell(values=(3.0, 2.5), divergences=(0.5625, 0.625), facts=LIMIT)
    assert lines[1] == (
        "No trial kept the limit on divergence, 0.5 nats: trial 0 came nearest, with 0.5625 "
        "and a value of 3.0000 on validation; a higher --max-divergence, or none, lets more trials "
        "win."
    )
    assert not any("Schedule" in line for line in lines)


def test_an_agents_schedule_has_a_line_for_each_stretch(tell: Callable[..., list[str]]) -> None:
    rates = (0.004, 0.004, 0.002, 0.001)
    lines = tell(schedule=lambda segment, held: {"learning_rate": rates[segment], "batch_size": 4})
    begin = lines.index("Schedule to paste (in fractions of the run):")
    assert [line.split() for line in lines[begin + 1 : begin + 5]] == [
        ["0%–50%", "learning_rate=0.004,", "batch_size=4"],
        ["50%–75%", "learning_rate=0.002,", "batch_size=4"],
        ["75%–100%", "learning_rate=0.001,", "batch_size=4"],
        [],
    ]


def test_a_study_without_any_value_says_why_and_what_it_cost(
    tell: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "result.json").touch()
    lines = tell(values=())
    assert lines[1] == "No trial ended with a value: 1 exploded (the loss became inf)."
    assert not any("Schedule" in line for line in lines)
    assert any("1 trial with 4,096 training tokens" in line for line in lines)
    assert any(line.startswith(f"Record: {tmp_path}/ (result.json), MLflow") for line in lines)


def test_the_record_is_named_with_the_commands_that_show_and_complete_it(
    tell: Callable[..., list[str]],
) -> None:
    assert "Look at it: python -m hpopt ui" in tell()
    told = "\n".join(tell(runs="elsewhere", error=Incomplete("the disk is full")))
    assert "Look at it: python -m hpopt ui --runs elsewhere" in told
    assert "MLflow is incomplete: the disk is full; `python -m hpopt resume otter --runs" in told
    told = "\n".join(tell(error=Incomplete("MLflow refuses 'x'", resumable=False)))
    assert "MLflow is incomplete: MLflow refuses 'x'" in told
    assert "hpopt resume" not in told
    told = "\n".join(tell(tracking_uri="https://me:secret@mlflow.example"))
    assert "MLflow https://***@mlflow.example" in told
    assert "Look at it: https://mlflow.example" in told
    assert "secret" not in told


def test_metrics_with_long_names_stay_in_their_columns(tell: Callable[..., list[str]]) -> None:
    metrics = {"reward": 0.5, "target_divergence": 0.25, "effective_sample_share": 0.125}
    final = {"default": (3.0,), "trial 1": (2.5,)}
    lines = tell(final, metrics=lambda value: metrics, facts={"base_metrics": metrics})
    begin = next(i for i, line in enumerate(lines) if line.startswith("On the test split"))
    head, objective, *rows = lines[begin + 1 : begin + 6]
    assert [row.split()[0] for row in (objective, *rows)] == ["objective", *metrics]
    cells = ("0.5000", "0.2500", "0.1250")
    columns = {row.index(cell) for row, cell in zip(rows, cells, strict=True)}
    assert columns == {head.index("recommended")}


def test_a_label_of_300_characters_widens_no_column(tell: Callable[..., list[str]]) -> None:
    labels = ["f1_" + "the answer " * 27 + end for end in ("a", "b")]
    metrics = {"accuracy": 0.5, "f1_好": 0.25, "f1_\x1b[2J": 0.125, **dict.fromkeys(labels, 0.75)}
    final = {"default": (3.0,), "trial 1": (2.5,)}
    lines = tell(final, metrics=lambda value: metrics, facts={"base_metrics": metrics})
    begin = next(i for i, line in enumerate(lines) if line.startswith("On the test split"))
    table = lines[begin + 1 : begin + 3 + len(metrics)]
    assert max(map(cell_len, table)) < 100
    assert len({row[:42] for row in table}) == len(table)
    assert all(row.isprintable() for row in table)
    ends = {cell_len(row[: row.index("0.")]) for row in table[2:]}
    assert ends == {cell_len(table[0][: table[0].index("recommended")])}
