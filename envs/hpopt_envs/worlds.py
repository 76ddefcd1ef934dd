"""The worlds that a task's name may ask for: fine-tuning, users' scripts, and stand-ins."""

from dataclasses import dataclass

TABLE_PREFIX = "table:"  # before a file of finished runs
NANO_PREFIX = "nano:"  # before a family of tiny models


@dataclass(frozen=True)
class World:
    """What builds environments of some tasks, and what can be done with them.

    Attributes:
        task: what its tasks are called in a list of them; empty where they have names of their own.
        description: of such a task, one line.
        trains: whether a model is fine-tuned, so that a schedule means something to a trainer, and
            a trial deserves an MLflow run of its own.
        may_move: whether hyperparameters may change during a trial.
        repeats: whether a configuration can be trained again, on another seed.
        runs_commands: whether a trial is a process of the user's own, which keeps files, says by
            itself how far it is, and can't be taken up in the middle.
        build: "module:function" of `hpopt_envs`, which takes `EnvironmentSettings` and returns a
            training run and the resolved space.
    """

    task: str
    description: str
    trains: bool
    may_move: bool
    repeats: bool
    build: str
    runs_commands: bool = False


FINE_TUNING = World(
    task="",
    description="Fine-tuning of a model.",
    trains=True,
    may_move=True,
    repeats=True,
    build="training.building:real_run",
)
SIMULATION = World(
    task="simulated",
    description="A noisy quadratic instead of training: milliseconds a trial.",
    trains=False,
    may_move=True,
    repeats=True,
    build="stand_ins.simulated:simulated_run",
)
FINISHED_RUNS = World(
    task="table:FILE.csv",
    description="Finished runs, looked up instead of trained; or table:FILE.csv:TASK.",
    trains=False,
    may_move=False,
    repeats=False,
    build="stand_ins.tabulated:tabulated_run",
)
NANO = World(
    task="nano:FAMILY",
    description="A real model of thousands of parameters, trained in a moment; nano:FAMILY:SEED.",
    trains=False,
    may_move=True,
    repeats=True,
    build="nano.run:nano_run",
)
SCRIPT = World(
    task="script",
    description="A training script of your own: what --command says.",
    trains=True,
    may_move=False,
    repeats=True,
    build="scripts.building:script_run",
    runs_commands=True,
)


def world_of(task: str) -> World:
    """Return the world of a task by its name, whether there is such a task or not."""
    for world in (SIMULATION, SCRIPT):
        if task == world.task:
            return world
    if task.startswith(NANO_PREFIX):
        return NANO
    return FINISHED_RUNS if task.startswith(TABLE_PREFIX) else FINE_TUNING
