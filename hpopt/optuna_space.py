"""A search space as Optuna sees it: native distributions, or the flat unit cube."""

import math
from collections.abc import Mapping
from typing import Protocol

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpopt_search_spaces import ChoiceParameter, FloatParameter, Parameter, SearchSpace, Value


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of each hyperparameter, in native values before `snap`.

    Args:
        space: resolved.
    """
    return {parameter.name: _distribution(parameter) for parameter in space.parameters}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, ChoiceParameter):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, FloatParameter):
        return FloatDistribution(*parameter.native_range, log=parameter.log)
    log = parameter.log or parameter.powers_of_two
    return IntDistribution(*parameter.native_range, log=log)


class Encoding(Protocol):
    """How configurations become parameters of Optuna's trials."""

    def suggest(self, trial: Trial) -> dict[str, Value]:
        """Return a configuration drawn by the trial's sampler: active, legal values."""

    def parameters(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the trial's parameters for a configuration, as `enqueue_trial` takes them."""


class NativeEncoding:
    """Native values, drawn in order; of conditional hyperparameters only the active ones."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._distributions = distributions(space)

    def suggest(self, trial: Trial) -> dict[str, Value]:
        raw: dict[str, Value] = {}
        for name, distribution in self._distributions.items():
            # Its parents come before it, so whether it is active is known here.
            if name in self._space.snap(raw):
                raw[name] = _suggest(trial, name, distribution)
        return self._space.snap(raw)

    def parameters(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: _raw(self._space[name], value) for name, value in values.items()}


class CubeEncoding:
    """A coordinate in [0, 1] for every hyperparameter, active or not.

    For samplers that leave choices and conditional hyperparameters to chance.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def suggest(self, trial: Trial) -> dict[str, Value]:
        return self._space.decode([trial.suggest_float(n, 0.0, 1.0) for n in self._space.names])

    def parameters(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return dict(zip(self._space.names, self._space.encode(values), strict=True))


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Value:
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_float(name, low, high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, CategoricalDistribution)
    choice = trial.suggest_categorical(name, distribution.choices)
    assert choice is not None  # Optuna allows it, a space doesn't
    return choice


def _raw(parameter: Parameter, value: Value) -> Value:
    """Return a number inside the native range that snaps to a value."""
    if isinstance(parameter, FloatParameter) and parameter.zero and value == 0:
        return math.sqrt(parameter.native_range[0] * parameter.low)  # the middle of the notch
    return value
