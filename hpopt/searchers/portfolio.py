"""A portfolio: configurations that were good on other tasks, ordered so that the first few hedge.

A configuration goes to another task as its point of the unit cube, so relative to each task's own
default where ranges are in octaves. Tasks were searched at different points; a random forest per
task says what each of them would have given. The first configuration is the one of lowest mean
regret over the tasks, each next one what improves the mean of their best so far most.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hpopt_envs.records import Trial
from hpopt_search_spaces import ChoiceParameter, Parameter, SearchSpace, Value

from ..errors import StudyError
from ..record.history import History
from .base import SearchPlan
from .default import ListProposer
from .driver import ProposerSearcher

TREES = 100  # of a forest
SAME = 1e-3  # of the unit interval: what is nearer differs by its way over alone

Floats = NDArray[np.float64]
Tried = list[tuple[dict[str, Value], float]]  # configurations with their normalised regrets


def make_portfolio(
    sources: Sequence[History], task: str, space: SearchSpace, size: int, prior: str = "default"
) -> list[dict[str, Value]]:
    """Return configurations to try on a task, best first.

    They are chosen among all that the sources tried and the default.

    Args:
        sources: studies of other tasks, at least one; they may still be running.
        task: that is to be searched.
        space: that is to be searched, resolved.
        size: how many configurations; there are fewer where the sources have fewer.
        prior: "default": the default comes first, and the rest adds to it.

    Raises:
        StudyError: a source is of the same task, or has nothing to transfer.
    """
    comparable: dict[Hashable, list[History]] = {}
    for source in sources:
        _check_source(source, task)
        comparable.setdefault(_problem(source), []).append(source)
    tried = [_transferred(studies, space) for studies in comparable.values()]
    known = [values for trials in tried for values, _ in trials]
    candidates = _distinct([space.defaults(), *known], space)
    points = np.array([space.encode(values) for values in candidates])
    regrets = np.array([_predicted(trials, space, points) for trials in tried])
    first = [0] if prior == "default" else []
    return [candidates[index] for index in greedy_order(regrets, size, first)]


def greedy_order(regrets: Floats, size: int, first: Sequence[int] = ()) -> list[int]:
    """Return candidates so that each lowers the mean over tasks of the best regret so far most.

    Of those that lower it alike, the one of lowest mean regret is taken, then the earliest.

    Args:
        regrets: shape (tasks, candidates), in [0, 1].
        size: how many; at most all are returned.
        first: candidates that come first in any case.
    """
    order = list(first)
    means = regrets.mean(axis=0)
    while len(order) < min(size, regrets.shape[1]):
        best = regrets[:, order].min(axis=1, initial=1.0)
        reached = np.minimum(best[:, None], regrets).mean(axis=0)
        left = [index for index in range(regrets.shape[1]) if index not in order]
        # Rounded, so that what is equal doesn't depend on the last digit.
        order.append(min(left, key=lambda i: (round(reached[i], 9), round(means[i], 9))))
    return order


def transfer(
    values: Mapping[str, Value], source: SearchSpace, target: SearchSpace
) -> dict[str, Value]:
    """Return the configuration at the same place of another space.

    Choices keep their value where the target has it. Names that the target lacks are dropped;
    what is missing takes the target's default.

    Args:
        values: of the active hyperparameters.
        source: that they are of, resolved.
        target: the other space, resolved.
    """
    point = dict(zip(target.names, target.default_unit, strict=True))
    for name, value in values.items():
        if name in target:
            point[name] = _place(value, source[name], target[name])
    return target.decode(list(point.values()))


def _place(value: Value, source: Parameter, target: Parameter) -> float:
    """Return the coordinate that a value of one parameter gets in another of the same name."""
    if isinstance(source, ChoiceParameter) or isinstance(target, ChoiceParameter):
        return target.to_unit(value if target.contains(value) else target.default)
    # The notch of 0 is as wide as its range makes it: 0 stays 0, and what is above it stays above.
    if value == 0 or target.from_unit(source.to_unit(value)) == 0:
        there = 0.0 if value == 0 and target.contains(0.0) else target.low
        return target.to_unit(there)
    return source.to_unit(value)


def _distinct(
    configurations: Sequence[dict[str, Value]], space: SearchSpace
) -> list[dict[str, Value]]:
    """Return the configurations but for those that an earlier one is the same as, to rounding."""
    points = np.array([space.encode(values) for values in configurations])
    kept: list[int] = []
    for index, point in enumerate(points):
        if not (np.abs(points[kept] - point).max(axis=1) < SAME).any():
            kept.append(index)
    return [configurations[index] for index in kept]


def _check_source(source: History, task: str) -> None:
    name = source.header["name"]
    if source.facts.task == task:
        raise StudyError(
            f"portfolio: must be studies of other tasks, but {name!r} is of {task!r} too"
        )
    if not _held_trials(source):
        raise StudyError(
            f"portfolio: must be studies with trials that held a configuration, but {name!r} has "
            "none"
        )


def _problem(study: History) -> Hashable:
    """Return what studies must share to be comparable: the task in all that matters."""
    facts = study.facts
    data = (facts.task, facts.model_hash, facts.data_hash, facts.trial_tokens)
    return (*data, facts.objective_name, facts.forgetting_weight, facts.max_divergence)


def _held_trials(study: History) -> list[tuple[dict[str, Value], Trial]]:
    """Return the ended trials that held one configuration, which is what can be held again.

    A schedule's mean isn't a configuration that anything is known of, so the trials of agents
    that acted inside them are left out.
    """
    names = {parameter["name"] for parameter in study.header["space"]["parameters"]}
    held = []
    for trial in study.trials.values():
        if trial.id in study.tests or trial.outcome is None or not trial.segments:
            continue
        first, *others = (
            {name: value for name, value in segment.hyperparameters.items() if name in names}
            for segment in trial.segments
        )
        if all(other == first for other in others):
            held.append((first, trial))
    return held


def _transferred(studies: list[History], space: SearchSpace) -> Tried:
    """Return what was tried on a task, as configurations of another space with their regrets.

    The regret is normalised: 0 is the best of all these studies, 1 the base model or worse.
    """
    ends = []
    for study in studies:
        source = SearchSpace.from_dict(study.header["space"])
        for values, trial in _held_trials(study):
            ends.append((transfer(values, source, space), _value(study, trial)))
    base = studies[0].facts.base_objective
    gap = base - min(value for _, value in ends)
    return [
        (values, min(1.0, 1.0 - (base - value) / gap) if gap > 0.0 else 1.0)
        for values, value in ends
    ]


def _value(study: History, trial: Trial) -> float:
    """Return the objective of a trial that could have won, else infinity."""
    value = trial.value
    if value is None or not trial.can_win or not math.isfinite(value):
        return math.inf
    return value if study.facts.feasible(trial.segments[-1].metrics) else math.inf


def _predicted(tried: Tried, space: SearchSpace, points: Floats) -> Floats:
    """Return the regrets on a task at some points of the unit cube.

    Args:
        tried: there.
        space: whose unit cube it is.
        points: shape (points, dimensions).

    Returns:
        Shape (points,).
    """
    from sklearn.ensemble import RandomForestRegressor  # type: ignore[import-untyped]

    known = np.array([space.encode(values) for values, _ in tried])
    forest = RandomForestRegressor(TREES, random_state=0, n_jobs=1)
    forest.fit(known, np.array([regret for _, regret in tried]))
    return np.asarray(forest.predict(points), dtype=np.float64)


def build(plan: SearchPlan) -> ProposerSearcher:
    """See `AgentSpec.build`."""
    return ProposerSearcher(lambda pool: ListProposer(plan.portfolio))
