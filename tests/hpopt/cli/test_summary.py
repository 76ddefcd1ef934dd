"""What a person reads at the end of a study."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from rich.cells import cell_len

from hpopt.cli.summary import report
from hpopt.record.history import History
from hpopt.record.judged import Confirmation, Judged
from hpopt.settings.study import Settings
from hpopt.study.result import StudyResult
from hpopt.tracking import Incomplete
from hpopt_envs.records import Outcome
from hpopt_search_spaces import SearchSpace


def judged(*values: float, **metrics: float) -> Judged:
    return Judged(values, tuple(metrics for _ in values), ())


@pytest.fixture
def tell(
    new_script: Callable[..., Any], space: SearchSpace, tmp_path: Path
) -> Callable[..., list[str]]:
    """Returns the lines of the report on trials with these values, by default 3.0 and 2.5."""

    def told(
        confirmation: Confirmation | None = None,
        *,
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
        history = History()
        for event in script.events:
            history.apply(event)
        if history.best is not None:
            path = [
                replace(segment, hyperparameters=schedule(segment.id, segment.hyperparameters))
                for segment in history.best.segments
            ]
            history.best = replace(history.best, segments=tuple(path))
        result = StudyResult("otter", tmp_path, history, space, confirmation, 75.0, error)
        return report(result, Settings.of(settings)).splitlines()

    return told


@pytest.mark.parametrize(("value", "said"), [(3.99, False), (4.0, True)])
def test_a_winner_that_is_no_better_than_the_base_model_is_called_that(
    tell: Callable[..., list[str]], value: float, said: bool
) -> None:
    lines = tell(values=(value, 5.0))
    assert lines[1].startswith("Winner: trial 0 ")
    assert ("It is no better than the base model." in lines) is said


def test_a_winner_that_is_better(tell: Callable[..., list[str]]) -> None:
    lines = tell(
        Confirmation(judged(2.5, 2.6, loss=2.25), judged(3.0, 3.02, loss=2.75), default_won=False)
    )
    assert lines[1] == (
        "Winner: trial 1 with 2.5000 on validation (base model 4.0000), "
        "found after 32,768 training tokens."
    )
    table = lines.index("On the test split, 2 fresh seeds, mean ± standard deviation:")
    cells = [line.split() for line in lines[table + 1 : table + 4]]
    assert cells == [
        ["winner", "default"],
        ["objective", "2.5500", "±", "0.0707", "3.0100", "±", "0.0141"],
        ["loss", "2.2500", "2.7500"],
    ]
    assert "The winner is better than the default by 0.4600, more than twice the spread." in lines
    assert any(line.startswith("  0%–100%    learning_rate=") for line in lines)
    cost = next(line for line in lines if line.startswith("Cost: "))
    assert cost.startswith("Cost: 46,002 token-equivalents")  # 1,000 and 9 segments of 5,000.25
    assert "3 trials with 36,864 training tokens; 1 min 15 s." in cost


@pytest.mark.parametrize(
    ("winner", "default", "verdict"),
    [
        ((2.5, 2.6), (2.6, 2.7), "better than the default by 0.1000, which may be noise."),
        ((2.6, 2.7), (2.5, 2.6), "no better than the default on fresh seeds: 0.1000 worse."),
        ((2.5,), (2.75,), "better than the default by 0.2500; one seed can't tell noise."),
        ((), (2.5, 2.6), "can't be compared: no trial of the winner has a value."),
    ],
)
def test_a_verdict_claims_no_more_than_the_seeds_show(
    tell: Callable[..., list[str]],
    winner: tuple[float, ...],
    default: tuple[float, ...],
    verdict: str,
) -> None:
    confirmation = Confirmation(judged(*winner), judged(*default), default_won=False)
    (line,) = [line for line in tell(confirmation) if "better than" in line or "compared" in line]
    assert line.endswith(verdict)


def test_failures_on_fresh_seeds_are_told(tell: Callable[..., list[str]]) -> None:
    failed = Judged((2.5,), ({"loss": 2.5},), ("the loss became inf",))
    lines = tell(Confirmation(failed, judged(3.0, 3.1, loss=3.0), default_won=False))
    assert "  a trial failed: the loss became inf" in lines


def test_the_default_won(tell: Callable[..., list[str]]) -> None:
    same = judged(2.5, 2.6, loss=2.25)
    lines = tell(Confirmation(same, same, default_won=True))
    assert "The default configuration won the search: it was run once, not twice." in lines
    assert "default (the winner)" in "\n".join(lines)
    assert sum("2.5500 ± 0.0707" in line for line in lines) == 1
    assert not any("2.5500 ± 0.0707" in line.split("±", 2)[-1] for line in lines)


def test_a_baseline_takes_the_place_of_the_default(tell: Callable[..., list[str]]) -> None:
    confirmation = Confirmation(judged(2.5, 2.51), judged(3.0, 3.01), default_won=False)
    told = "\n".join(tell(confirmation, baseline={"learning_rate": 1e-3}))
    assert "better than the baseline by 0.5000" in told
    assert "default" not in told


def test_a_metric_to_be_maximised_is_shown_as_itself(tell: Callable[..., list[str]]) -> None:
    confirmation = Confirmation(judged(-0.9, -0.92), judged(-0.7, -0.72), default_won=False)
    lines = tell(confirmation, values=(-0.75, -0.875), facts={"maximize": True})
    assert "Winner: trial 1 with 0.8750 on validation" in lines[1]
    assert any(line.split()[:2] == ["objective", "0.9100"] for line in lines)
    assert "The winner is better than the default by 0.2000, more than twice the spread." in lines


LIMIT = {"max_divergence": 0.5}


def test_under_a_limit_test_divergence_is_beside_it_and_marked_where_it_is_over(
    tell: Callable[..., list[str]],
) -> None:
    confirmation = Confirmation(
        judged(2.5, 2.6, loss=2.0, forgetting=0.9, divergence=0.4321),
        judged(2.0, 2.1, loss=1.5, forgetting=1.1, divergence=0.5125),
        default_won=False,
    )
    lines = tell(confirmation, divergences=(0.6, 0.5), facts=LIMIT)
    assert lines[1].startswith("Winner: trial 1 with 2.5000 and divergence 0.5000 on validation")
    table = next(i for i, line in enumerate(lines) if line.startswith("On the test split"))
    cells = [re.split(" {2,}", line.strip()) for line in lines[table + 1 : table + 6]]
    assert cells[2:] == [
        ["loss", "2.0000", "1.5000"],
        ["forgetting", "0.9000", "1.1000"],
        ["divergence", "0.4321 (limit 0.5)", "0.5125 (over limit 0.5)"],
    ]
    over = "The default exceeds the limit on divergence on fresh seeds: 0.5125 on average."
    assert lines[table + 6 : table + 8] == [
        over,
        "The winner is no better than the default on fresh seeds: 0.5000 worse.",
    ]


def test_a_winner_that_is_over_the_limit_on_fresh_seeds_is_marked(
    tell: Callable[..., list[str]],
) -> None:
    """Its mean is what counts: one of its seeds is within the limit."""
    ends = ({"loss": 2.0, "divergence": 0.45}, {"loss": 2.0, "divergence": 0.57})
    winner = Judged((2.5, 2.6), ends, ())
    same = Confirmation(winner, winner, default_won=True)
    told = "\n".join(tell(same, divergences=(0.6, 0.5), facts=LIMIT))
    assert "0.5100 (over limit 0.5)" in told
    assert "exceeds the limit on divergence on fresh seeds: 0.5100 on average." in told


def test_a_study_in_which_no_trial_keeps_the_limit_says_which_came_nearest(
    tell: Callable[..., list[str]],
) -> None:
    lines = tell(values=(3.0, 2.5), divergences=(0.5625, 0.625), facts=LIMIT)
    assert lines[1] == (
        "No trial kept the limit on divergence, 0.5 nats: trial 0 came nearest, with 0.5625 "
        "and a value of 3.0000 on validation."
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
    confirmation = Confirmation(judged(2.5, **metrics), judged(3.0, **metrics), default_won=False)
    lines = tell(confirmation, facts={"base_metrics": metrics})
    begin = next(i for i, line in enumerate(lines) if line.startswith("On the test split"))
    head, objective, *rows = lines[begin + 1 : begin + 6]
    assert [row.split()[0] for row in (objective, *rows)] == ["objective", *metrics]
    cells = ("0.5000", "0.2500", "0.1250")
    columns = {row.index(cell) for row, cell in zip(rows, cells, strict=True)}
    assert columns == {head.index("winner")}


def test_a_label_of_300_characters_widens_no_column(tell: Callable[..., list[str]]) -> None:
    labels = ["f1_" + "the answer " * 27 + end for end in ("a", "b")]
    metrics = {"accuracy": 0.5, "f1_好": 0.25, "f1_\x1b[2J": 0.125, **dict.fromkeys(labels, 0.75)}
    confirmation = Confirmation(judged(2.5, **metrics), judged(3.0, **metrics), default_won=False)
    lines = tell(confirmation, facts={"base_metrics": metrics})
    begin = next(i for i, line in enumerate(lines) if line.startswith("On the test split"))
    table = lines[begin + 1 : begin + 3 + len(metrics)]
    assert max(map(cell_len, table)) < 100
    assert len({row[:42] for row in table}) == len(table)
    assert all(row.isprintable() for row in table)
    ends = {cell_len(row[: row.index("0.")]) for row in table[2:]}
    assert ends == {cell_len(table[0][: table[0].index("winner")])}
