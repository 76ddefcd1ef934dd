"""Judging the winner beside the default configuration: fresh seeds, the test split."""

from collections import deque
from collections.abc import Mapping, Sequence

from hpopt_envs.messages import Reply
from hpopt_envs.randomness import key
from hpopt_envs.records import Trial
from hpopt_search_spaces import Value

from ..pool.metered import MeteredPool
from ..record.judged import Confirmation, Judged, judged
from ..record.schedule import Schedule, default_configuration


def confirm(pool: MeteredPool, best: Trial, seeds: int) -> Confirmation:
    """Run the winner's schedule and the default's on the same fresh seeds, open loop."""
    default = default_configuration(pool.space, pool.facts)
    won, held = Schedule.of(best), Schedule.held(default, pool.facts)
    default_won = won.hyperparameters == held.hyperparameters
    schedules = [held] if default_won else [won, held]
    winner, *others = judge(pool, schedules, seeds)
    return Confirmation(winner, others[0] if others else winner, default_won)


def judge(pool: MeteredPool, schedules: Sequence[Schedule], seeds: int) -> list[Judged]:
    """Run each schedule on the same fresh seeds, open loop, judged on the test split."""
    jobs = [(schedule, seed) for schedule in range(len(schedules)) for seed in range(seeds)]
    ended = _run(pool, jobs, schedules)
    return [judged(ended[s * seeds : (s + 1) * seeds]) for s in range(len(schedules))]


def _run(
    pool: MeteredPool, jobs: Sequence[tuple[int, int]], schedules: Sequence[Schedule]
) -> list[Trial]:
    """Run (schedule, seed) jobs over all workers; return their trials in the order of the jobs."""
    waiting = deque(range(len(jobs)))
    trials: dict[int, int] = {}
    left: dict[int, deque[tuple[Mapping[str, Value], int]]] = {}

    def begin(worker: int) -> None:
        job = waiting.popleft()
        schedule, seed = jobs[job]
        seeded = key(pool.seed, "confirmation", seed)
        trials[job] = pool.start(worker, seed=seeded, test=True)
        left[worker] = deque(schedules[schedule].segments)

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
    return [pool.history.trials[trials[job]] for job in range(len(jobs))]
