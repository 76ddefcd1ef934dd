"""Searches by the range test, and how to read what they came to."""

from collections.abc import Callable
from typing import Any

from hpopt.pool.metered import MeteredPool
from hpopt_envs.records import Segment, Trial
from hpopt_search_spaces import FloatParameter
from tests.hpopt.searching import make_searcher

MakePool = Callable[..., MeteredPool]

MAKE_ENV = "hpopt_envs.factory:make_env"
DEFAULT = 0.0011  # of the simulated task


def run(
    make_pool: MakePool,
    *,
    trials: int = 5,
    trial_tokens: int = 65536,
    seed: int = 0,
    workers: int = 1,
    factory: str = MAKE_ENV,
    **settings: Any,
) -> MeteredPool:
    if factory == MAKE_ENV:
        settings["trial_tokens"] = trial_tokens
    pool = make_pool(
        "range-test", trials=trials, seed=seed, workers=workers, factory=factory, **settings
    )
    make_searcher("range-test", trials=trials, seed=seed).search(pool)
    return pool


def rate_of(segment: Segment) -> float:
    return float(segment.hyperparameters["learning_rate"])


def rate_in(pool: MeteredPool) -> FloatParameter:
    rate = pool.space["learning_rate"]
    assert isinstance(rate, FloatParameter)
    return rate


def held(trial: Trial) -> float:
    """The learning rate of a trial that has only one."""
    (rate,) = {rate_of(segment) for segment in trial.segments}
    return rate
