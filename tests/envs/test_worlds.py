"""A task's name says which world it is of; a world says what can be done there."""

from pathlib import Path

import pytest

from hpopt_envs import WorldError, make_env
from hpopt_envs.tasks import available_tasks
from hpopt_envs.tasks.suite import BUILT_IN
from hpopt_envs.worlds import FINE_TUNING, FINISHED_RUNS, NANO, SIMULATION, world_of


def test_a_name_says_which_world_it_is_of() -> None:
    assert world_of("simulated") is SIMULATION
    for name in ("table:a.csv", "table:a.csv:b", "table:nonsense"):
        assert world_of(name) is FINISHED_RUNS
    for name in ("nano:markov", "nano:17:3", "nano:nonsense"):
        assert world_of(name) is NANO
    for name in (*BUILT_IN, "own_task:Digits", "no such task", "simulated2", "nano"):
        assert world_of(name) is FINE_TUNING


def test_tasks_of_every_world_are_listed() -> None:
    names = [name for name, _ in available_tasks()]
    assert {SIMULATION.task, NANO.task, FINISHED_RUNS.task} < set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("task", ["simulated", "nano:markov", "table:runs.csv"])
def test_hyperparameters_move_where_the_world_says_so(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"t,{rate},{mark},1.0" for rate in (0.001, 0.01) for mark in (1, 2)]
    text = "\n".join(["task,learning_rate,checkpoint,loss", *rows])
    Path("runs.csv").write_text(text + "\n")
    env = make_env(task)
    env.reset(seed=0)
    env.train({"learning_rate": 0.001, "batch_size": 16})
    if world_of(task).may_move:
        env.train({"learning_rate": 0.01, "batch_size": 16})
        assert env.trial.segments[-1].hyperparameters["learning_rate"] == 0.01
    else:
        with pytest.raises(WorldError, match="can't change during a trial"):
            env.train({"learning_rate": 0.01, "batch_size": 16})
