"""Judging the winner beside the default configuration: fresh seeds, the test split."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from hpopt_envs.messages import Reply
from hpopt_envs.randomness import key
from hpopt_envs.records import RunFacts, Trial
from hpopt_envs.training.schedules import HELD_SHAPE
from hpopt_search_spaces import SearchSpace, Value

from .pool.metered import MeteredPool

Schedule = Sequence[tuple[Mapping[str, Value], int]]
"""Hyperparameters and task tokens of each segment."""


@dataclass(frozen=True)
class Judged:
    """One schedule's trials on the test split, one a seed; failed ones have no value.

    Attributes:
        values: objectives, as minimised.
        metrics: of each trial with a value.
        failures: reasons of those without.
    """

    values: tuple[float, ...]
    metrics: tuple[Mapping[str, float], ...]
    failures: tuple[str, ...]

    @property
    def mean(self) -> float | None:
        return mean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    def metric(self, name: str) -> float | None:
        """Mean of a metric over seeds; None where it wasn't measured."""
        found = [metrics[name] for metrics in self.metrics if name in metrics]
        return mean(found) if found else None


@dataclass(frozen=True)
class Confirmation:
    """The winner and the default configuration, judged alike; the same where the default won."""

    winner: Judged
    default: Judged
    default_won: bool


def schedule_of(trial: Trial) -> list[dict[str, Value]]:
    """The hyperparameters of each segment on a trial's path."""
    return [dict(segment.hyperparameters) for segment in trial.path]


def default_configuration(space: SearchSpace, facts: RunFacts) -> dict[str, Value]:
    """All hyperparameters of the default configuration."""
    return HELD_SHAPE | dict(facts.fixed) | space.defaults()


def confirm(pool: MeteredPool, best: Trial, seeds: int) -> Confirmation:
    """Run the winner's schedule and the default's on the same fresh seeds, open loop."""
    default = default_configuration(pool.space, pool.facts)
    default_won = schedule_of(best) == [default] * pool.facts.segments
    held = [(default, pool.facts.segment_tokens)] * pool.facts.segments
    schedules = [held] if default_won else [timed_schedule(best), held]
    winner, *others = judge(pool, schedules, seeds)
    return Confirmation(winner, others[0] if others else winner, default_won)


def timed_schedule(trial: Trial) -> Schedule:
    """What a trial's path was trained with, and for how long."""
    return [(segment.hyperparameters, segment.tokens) for segment in trial.path]


def judge(pool: MeteredPool, schedules: Sequence[Schedule], seeds: int) -> list[Judged]:
    """Run each schedule on the same fresh seeds, open loop, judged on the test split."""
    jobs = [(schedule, seed) for schedule in range(len(schedules)) for seed in range(seeds)]
    ended = _run(pool, jobs, schedules)
    return [judged(ended[s * seeds : (s + 1) * seeds]) for s in range(len(schedules))]


def judged(trials: Sequence[Trial]) -> Judged:
    good = [trial for trial in trials if trial.value is not None]
    return Judged(
        values=tuple(trial.value for trial in good if trial.value is not None),
        metrics=tuple(trial.segments[-1].metrics for trial in good),
        failures=tuple(trial.reason for trial in trials if trial.value is None),
    )


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
        left[worker] = deque(schedules[schedule])

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
