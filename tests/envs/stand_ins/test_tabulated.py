"""Finished runs as a task: what a table says is what trials come to, and what they cost."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from hpopt_envs import FineTuneEnv, Outcome, Trial, WorldError, make_env
from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.messages import StudyFacts
from hpopt_envs.stand_ins.finished_runs import read_runs, tasks_of
from hpopt_envs.stand_ins.tabulated import TabulatedRun, space_of
from hpopt_search_spaces import ChoiceParameter, FloatParameter, IntegerParameter, SearchSpace
from tests.envs.stand_ins.tables import LOSSES, MISSING, RATES, SIZES, Write


def run_trial(env: FineTuneEnv, **values: Any) -> Trial:
    action = absolute_action(env.space.encode({**env.space.defaults(), **values}))
    env.reset(seed=1)
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(action)
    trial: Trial = info["trial"]
    return trial


def named(objective: str) -> FineTuneEnv:
    return make_env("table:rows.csv:small", objective=objective)


@pytest.mark.usefixtures("write")
def test_a_row_is_a_trial_that_costs_what_the_run_cost() -> None:
    env = make_env("table:rows.csv:large")
    trial = run_trial(env, learning_rate=1e-4, batch_size=16)
    assert trial.outcome is Outcome.COMPLETED
    assert trial.value == pytest.approx(LOSSES[1e-4, 16] - 1.0)
    assert trial.segments[0].metrics == {"loss": trial.value, "accuracy": 0.16}
    assert (trial.cost, trial.trained_tokens, len(trial.segments)) == (5000, 5000, 1)
    assert env.facts.total_parameters == 90_000


@pytest.mark.usefixtures("write")
def test_facts_say_where_the_median_and_the_best_run_are() -> None:
    facts = make_env("table:rows.csv:small").facts
    ends = sorted(loss for cell, loss in LOSSES.items() if cell != MISSING)
    assert facts.base_objective == pytest.approx((ends[3] + ends[4]) / 2)
    assert facts.best_objective == pytest.approx(ends[0])
    assert (facts.objective_name, facts.unit, facts.maximize) == ("loss", "nats/token", False)


@pytest.mark.usefixtures("write")
def test_every_configuration_is_the_nearest_cell_on_the_scale_of_the_space() -> None:
    """Rates span a decade and sizes are powers of two, so that both are on a log scale."""
    env = make_env("table:rows.csv:small")
    draw = random.Random(0)
    for _ in range(60):
        values = env.space.decode([draw.random(), draw.random()])
        rate = min(RATES, key=lambda r: abs(math.log(float(values["learning_rate"]) / r)))
        size = min(SIZES, key=lambda s: abs(math.log(float(values["batch_size"]) / s)))
        trial = run_trial(env, **values)
        if (rate, size) == MISSING:
            assert trial.outcome is Outcome.FAILED
        else:
            assert trial.value == pytest.approx(LOSSES[rate, size])


@pytest.mark.usefixtures("write")
def test_a_missing_cell_is_a_failed_trial_that_costs_a_whole_one() -> None:
    trial = run_trial(make_env("table:rows.csv:small"), learning_rate=9e-4, batch_size=64)
    assert trial.outcome is Outcome.FAILED
    assert trial.reason == "no such run in the table: learning_rate=0.001, batch_size=64"
    assert trial.value is None
    assert (trial.cost, trial.trained_tokens) == (5000, 5000)


@pytest.mark.usefixtures("write")
def test_segments_go_from_checkpoint_to_checkpoint() -> None:
    env = make_env("table:steps.csv")
    trial = run_trial(env, epochs=2, dropout=0.3)
    assert [segment.objective for segment in trial.segments] == [35.0, 25.0, 12.0]
    assert [segment.metrics["bleu"] for segment in trial.segments] == [-35.0, -25.0, -12.0]
    assert (trial.outcome, trial.value) == (Outcome.COMPLETED, 12.0)
    assert (env.facts.segments, env.facts.trial_tokens, trial.cost) == (3, 3, 3)
    assert env.facts.best_objective == 10.0
    assert env.facts.base_objective == 12.0  # the median of 10, 15 and 12


@pytest.mark.usefixtures("write")
def test_a_run_that_was_ended_early_completes_its_trial_and_costs_what_it_ran() -> None:
    trial = run_trial(make_env("table:steps.csv"), epochs=2, dropout=0.1)
    assert (trial.outcome, trial.value, trial.cost) == (Outcome.COMPLETED, 15.0, 2)


def test_a_run_that_was_measured_less_often_costs_what_it_ran(write: Write) -> None:
    write("gap.csv", "task,a,checkpoint,loss\nt,1,1,3\nt,1,2,2\nt,1,3,1\nt,2,1,3\nt,2,3,2\n")
    trial = run_trial(make_env("table:gap.csv"), a=2)
    assert [(s.objective, s.tokens) for s in trial.segments] == [(3.0, 1), (2.0, 2)]


def test_a_run_whose_loss_is_not_a_number_exploded_and_an_empty_one_is_missing(
    write: Write,
) -> None:
    write("t.csv", "task,a,loss\nt,1,nan\nt,2,1.5\nt,3,inf\nt,4,\n")
    env = make_env("table:t.csv")
    ends = [run_trial(env, a=a).outcome for a in (1, 2, 3, 4)]
    assert ends == [Outcome.EXPLODED, Outcome.COMPLETED, Outcome.EXPLODED, Outcome.FAILED]


@pytest.mark.usefixtures("write")
def test_a_trial_is_taken_up_where_it_was(tmp_path: Path) -> None:
    env, other = make_env("table:steps.csv"), make_env("table:steps.csv")
    action = absolute_action(env.space.encode({"epochs": 1, "dropout": 0.1}))
    env.reset(seed=1)
    env.step(action)
    env.save(tmp_path / "snapshot")
    other.load(tmp_path / "snapshot", StudyFacts())
    values = [other.step(action)[4]["segment"].objective for _ in range(2)]
    assert values == [20.0, 10.0]


@pytest.mark.usefixtures("write")
def test_a_run_keeps_its_hyperparameters() -> None:
    run = make_env("table:steps.csv").run
    assert isinstance(run, TabulatedRun)
    state = run.start(0)
    run.advance(state, {"epochs": 1, "dropout": 0.1}, 0)
    with pytest.raises(WorldError, match="can't change during a trial"):
        run.advance(state, {"epochs": 2, "dropout": 0.1}, 1)


@pytest.mark.usefixtures("write")
def test_an_objective_may_be_another_column_and_the_other_way_round() -> None:
    accuracy = run_trial(named("accuracy"), learning_rate=1e-3, batch_size=8)
    assert accuracy.value == -0.8
    assert named("accuracy:max").facts.best_objective == -0.8
    assert named("loss:max").facts.best_objective == -max(
        loss for cell, loss in LOSSES.items() if cell != MISSING
    )
    assert named("parameters:min").space.names == ("learning_rate", "batch_size")


def test_the_space_has_the_scale_that_each_column_has_in_the_whole_table(write: Write) -> None:
    write(
        "t.csv",
        "task,rate,size,layers,width,momentum,decay,optimizer,model,loss\n"
        "t,1e-4,1,2,96,0.8,0,sgd,m,1\n"
        "t,4e-4,4,4,100,0.9,0.1,adam,m,2\n"
        "t,2e-4,2,3,300,0.95,1,lion,m,3\n"
        "other,4e-3,2,3,1000,0.95,1,lion,n,3\n",
    )
    runs = read_runs("table:t.csv:t")
    assert runs.facts == {"model": "m"}
    assert space_of(runs).parameters == (
        FloatParameter("rate", 1e-4, 4e-4, 2e-4, log=True),
        IntegerParameter("size", 1, 4, 2, powers_of_two=True),
        IntegerParameter("layers", 2, 4, 3),
        IntegerParameter("width", 96, 300, 100, log=True),
        FloatParameter("momentum", 0.8, 0.95, 0.9),
        FloatParameter("decay", 0.0, 1.0, 0.1),
        ChoiceParameter("optimizer", ("adam", "lion", "sgd"), "lion"),
    )
    values = dict(zip(runs.grid, next(iter(runs.runs)), strict=True))
    assert run_trial(make_env("table:t.csv:t"), **values).value == 1.0


@pytest.mark.usefixtures("write")
def test_a_space_of_ones_own_narrows_the_table() -> None:
    rate = FloatParameter("learning_rate", 1.5e-4, 1e-3, 5e-4)
    size = ChoiceParameter("batch_size", (8, 64), 8)
    env = make_env("table:rows.csv:small", space=SearchSpace("own", (size, rate)).to_dict())
    # On this linear scale 5.5e-4 is nearer to 2e-4; the cells of 1e-4 and 16 are out of reach.
    for value, cell in ((1.5e-4, 2e-4), (5.5e-4, 2e-4), (6.5e-4, 1e-3)):
        trial = run_trial(env, learning_rate=value, batch_size=8)
        assert trial.value == pytest.approx(LOSSES[cell, 8])


def test_a_table_is_looked_for_here_and_then_in_the_folder_of_tables(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("folder/rows.csv", "task,a,loss\nnobody's,1,1\nnobody's,2,1\n")
    write("folder/more.csv", "task,a,loss\nb,1,1\na,2,1\nb,2,1\n")
    with pytest.raises(WorldError, match="HPOPT_TABLES names, which isn't set"):
        tasks_of("more.csv")
    monkeypatch.setenv("HPOPT_TABLES", str(tmp_path / "folder"))
    assert tasks_of("more.csv") == ["b", "a"]
    assert tasks_of("rows.csv") == ["small", "large"]
    assert tasks_of(str(tmp_path / "folder" / "rows.csv")) == ["nobody's"]
    with pytest.raises(
        WorldError, match=f"no 'none.csv' in the working directory or in {tmp_path}"
    ):
        tasks_of("none.csv")
