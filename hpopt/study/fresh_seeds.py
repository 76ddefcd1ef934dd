"""Schedules trained again, open loop, on fresh seeds that are the same for all."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpopt_envs.messages import Reply
from hpopt_envs.randomness import key
from hpopt_envs.records import Trial
from hpopt_search_spaces import Value

from ..pool.metered import MeteredPool
from ..record.schedule import Schedule


@dataclass(frozen=True)
class Job:
    """A run of a schedule on a fresh seed.

    Attributes:
        name: of the schedule.
        schedule: to be trained.
        seed: which one, from 0.
    """

    name: str
    schedule: Schedule
    seed: int


def run_jobs(pool: MeteredPool, jobs: Sequence[Job], *, keep_weights: bool = False) -> list[Trial]:
    """Run jobs over all workers, and return their trials in the order of the jobs.

    Args:
        pool: where they run; their ends are judged on validation and on the test split.
        jobs: to be run.
        keep_weights: whether snapshots of the trained models stay.
    """
    waiting = deque(range(len(jobs)))
    trials: dict[int, int] = {}
    left: dict[int, deque[tuple[Mapping[str, Value], int]]] = {}

    def begin(worker: int) -> None:
        number = waiting.popleft()
        job = jobs[number]
        # The word is from before there were finals: the seeds are the same.
        seed = key(pool.seed, "confirmation", job.seed)
        trials[number] = pool.start(worker, seed=seed, tests=job.name)
        if keep_weights:
            pool.workers.kept.add(trials[number])
        left[worker] = deque(job.schedule.segments)

    def go_on(worker: int, reply: Reply) -> None:
        if reply.outcome is None:
            hyperparameters, tokens = left[worker].popleft()
            pool.train(worker, hyperparameters, tokens=tokens, last=not left[worker])
            return
        del left[worker]
        if waiting:
            begin(worker)

    for worker in range(min(pool.size, len(jobs))):
        begin(worker)
    while left:
        go_on(*pool.collect())
    return [pool.history.trials[trials[number]] for number in range(len(jobs))]
