"""Who can decide: a searcher is a module, and a line here.

Importing this is light; what a searcher needs is imported when it is made.
"""

import importlib
from collections.abc import Mapping, Sequence

from hpopt_search_spaces import FloatParameter, SearchSpace, Value, nearest_names

from ..errors import StudyError
from .base import AgentSpec, Searcher, SearchPlan


def _sampler(description: str) -> AgentSpec:
    return AgentSpec(description, "optuna_proposer:build")


def _agent(description: str, view: str) -> AgentSpec:
    return AgentSpec(
        description,
        "agents:build",
        view=view,
        validates=True,
        holds=False,
        prunable=False,
    )


AGENTS = {
    "tpe": _sampler("tree-structured Parzen estimator: models where good trials lie (Optuna)"),
    "gp": _sampler("Gaussian process with expected improvement (Optuna)"),
    "cmaes": _sampler("CMA-ES: moves and shapes a normal distribution (Optuna)"),
    "nsga2": _sampler("evolution: crossover and mutation of the best trials (Optuna)"),
    "qmc": _sampler("quasi-random points that cover the space evenly (Optuna)"),
    "random": _sampler("independent random points (Optuna)"),
    "grid": AgentSpec("every combination of a few levels", "grid:build", prunable=False),
    "ppo": _agent("proximal policy optimization, acts in every segment (SB3)", "relative"),
    "a2c": _agent("plain policy gradient, acts in every segment (SB3)", "relative"),
    "dqn": _agent("Q-learning, ε-greedy, acts in every segment (SB3)", "discrete"),
    "range-test": AgentSpec(
        "finds the learning rate inside the first trial, rolls back; then TPE around it",
        "range_test:build",
        prunable=False,
        needs_dynamic_rate=True,
    ),
    "default": AgentSpec("the default configuration, once", "default:build", prunable=False),
    "portfolio": AgentSpec(
        "what was best on other tasks, of the studies that --portfolio names",
        "portfolio:build",
        prunable=False,
    ),
}
PRUNERS = {
    "none": "every trial runs to its end",
    "median": "stops trials that are worse than the median at the same segment",
    "successive-halving": "only the best third of the trials goes past each checkpoint",
    "hyperband": "successive halving with checkpoints that start at several depths",
    "promotion": "successive halving that pauses trials, and resumes the best third (ASHA)",
}
PRIORS = ("default", "none")
AUTO = "auto"  # in place of an agent


def find_agent(agent: str, pruner: str = "none") -> AgentSpec:
    """Return an agent's entry, after a check that it goes with the pruner.

    Raises:
        StudyError: an unknown name (with the nearest ones), or an agent that takes no pruner.
    """
    if agent not in AGENTS:
        raise StudyError(f"agent: there is no {agent!r} ({nearest_names(agent, AGENTS)})")
    if pruner not in PRUNERS:
        raise StudyError(f"pruner: there is no {pruner!r} ({nearest_names(pruner, PRUNERS)})")
    spec = AGENTS[agent]
    if pruner != "none" and not spec.prunable:
        fitting = ", ".join(name for name, other in AGENTS.items() if other.prunable)
        raise StudyError(f"pruner: must go with one of {fitting}, but got agent {agent!r}")
    return spec


def choose_agent(
    agent: str, pruner: str, space: SearchSpace | None = None, has_probe: bool = True
) -> str:
    """Return the agent itself, or who decides where that is left to us.

    That is `range-test` where it can be had, which did best in the comparison on ten tasks among
    those that need no earlier study (`README.md`), else `tpe`.

    Args:
        agent: a name in `AGENTS`, or "auto".
        pruner: a name in `PRUNERS`.
        space: resolved; where it isn't known yet, `tpe` stands for both, whose environments are
            the same.
        has_probe: whether the task's loss on a probe batch can be compared over a trial.
    """
    if agent != AUTO:
        return agent
    can_test = space is not None and _rate_may_move(space) and has_probe
    return "range-test" if can_test and pruner == "none" else "tpe"


def _rate_may_move(space: SearchSpace) -> bool:
    return any(
        isinstance(p, FloatParameter) and p.name == "learning_rate" and p.log and p.dynamic
        for p in space.parameters
    )


def check_space(agent: str, space: SearchSpace, has_probe: bool) -> None:
    """Check that an agent can do with a space and a task.

    Raises:
        StudyError: it finds the learning rate inside a trial, and the space doesn't allow that, or
            the task has no loss that could tell.
    """
    if not AGENTS[agent].needs_dynamic_rate:
        return
    if not has_probe:
        raise StudyError(
            f"agent: {agent} needs a task with a loss on fixed examples, but this one draws new "
            "samples in every step; tpe and others do without"
        )
    if not _rate_may_move(space):
        raise StudyError(
            f"agent: {agent} needs a space with a learning_rate that is a float with log = true "
            f"and dynamic = true, but {space.name!r} has none"
        )


def make_searcher(
    agent: str,
    pruner: str = "none",
    *,
    trials: int,
    seed: int,
    prior: str = "default",
    portfolio: Sequence[Mapping[str, Value]] = (),
) -> Searcher:
    """Make a searcher, see `SearchPlan`.

    Raises:
        StudyError: an unknown name (with the nearest ones), or an agent that takes no pruner.
    """
    spec = find_agent(agent, pruner)
    if prior not in PRIORS:
        raise StudyError(f"prior: must be one of {', '.join(PRIORS)}, but got {prior!r}")
    module, _, function = spec.build.partition(":")
    build = getattr(importlib.import_module(f".{module}", __package__), function)
    searcher: Searcher = build(SearchPlan(agent, pruner, trials, seed, prior, tuple(portfolio)))
    return searcher
