"""Optuna's samplers, with settings that fit the budget.

Left to their defaults, TPE's and GP's first ten trials are random, and NSGA-II's first fifty.
Small budgets get fewer; none gets more.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from hpopt_envs.randomness import key
from hpopt_search_spaces import SearchSpace

from ..optuna_space import CubeEncoding, Encoding, NativeEncoding
from .base import SearchPlan


@dataclass(frozen=True)
class Sampler:
    """A sampler of Optuna's, and what it can do with.

    Attributes:
        make: makes it of the plan and the number of hyperparameters.
        learns_from_pruned: whether it may be told of a pruned trial as such; others would learn
            nothing from it. With the GP so told, on the simulated task, 20 trials and a median
            pruner (5 seeds, no prior), 44 of 50 trials were pruned unseen, and the best value was
            3.57; told with their values, 3.05.
        takes_constraints: whether it makes use of a constraint; random and QMC ignore it, and
            CMA-ES warns of it.
        flat: whether it sees the unit cube. Natively, CMA-ES draws choices and conditional
            hyperparameters at random, and so does QMC what its first trial didn't have.
    """

    make: Callable[[SearchPlan, int], BaseSampler]
    learns_from_pruned: bool = False
    takes_constraints: bool = False
    flat: bool = False

    def encoding(self, space: SearchSpace) -> Encoding:
        """Return how it sees a space."""
        return CubeEncoding(space) if self.flat else NativeEncoding(space)

    def of(self, plan: SearchPlan, dimension: int) -> BaseSampler:
        """Return the plan's sampler, for so many hyperparameters."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self.make(plan, dimension)


def startup_trials(plan: SearchPlan) -> int:
    """Return how many trials are random before a model is fitted.

    A fifth of the budget, at least three, and at most `plan.startup_limit`: Optuna's own ten, but
    in studies of before there was a limit.
    """
    return min(plan.startup_limit, max(3, plan.trials // 5))


def population_size(trials: int, default: int) -> int:
    """Return a population of which four generations fit the budget: at least 4."""
    return max(4, min(default, trials // 4))


def sampler_seed(seed: int) -> int:
    """Return what Optuna's samplers are seeded with in a study of this seed: 32 bits."""
    return key(seed, "sampler") % 2**32


def _random(plan: SearchPlan, dimension: int) -> BaseSampler:
    return RandomSampler(seed=sampler_seed(plan.seed))


def _tpe(plan: SearchPlan, dimension: int) -> BaseSampler:
    startup = startup_trials(plan)
    return TPESampler(seed=sampler_seed(plan.seed), n_startup_trials=startup)


def _gp(plan: SearchPlan, dimension: int) -> BaseSampler:
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    startup = startup_trials(plan)
    return GPSampler(seed=sampler_seed(plan.seed), n_startup_trials=startup)


def _cmaes(plan: SearchPlan, dimension: int) -> BaseSampler:
    """Return CMA-ES, which starts from a normal distribution, not from random trials.

    Its usual population is 4 + 3 ln d (Hansen 2016, arXiv 1604.00772, table 1).
    """
    usual = 4 + int(3 * math.log(dimension))
    return CmaEsSampler(
        seed=sampler_seed(plan.seed), popsize=population_size(plan.trials, default=usual)
    )


def _nsga2(plan: SearchPlan, dimension: int) -> BaseSampler:
    size = population_size(plan.trials, default=50)
    return NSGAIISampler(seed=sampler_seed(plan.seed), population_size=size)


def _qmc(plan: SearchPlan, dimension: int) -> BaseSampler:
    return QMCSampler(seed=sampler_seed(plan.seed), scramble=True)


SAMPLERS = {  # by agent
    "tpe": Sampler(_tpe, learns_from_pruned=True, takes_constraints=True),
    "gp": Sampler(_gp, takes_constraints=True),
    "cmaes": Sampler(_cmaes, flat=True),
    "nsga2": Sampler(_nsga2, takes_constraints=True),
    "qmc": Sampler(_qmc, learns_from_pruned=True, flat=True),
    "random": Sampler(_random, learns_from_pruned=True),
}
