"""Who can decide. A searcher of ours is a module and a line here; others are named or installed.

Importing this is light; what a searcher needs is imported when it is made.
"""

import importlib
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

from hpopt_envs.references import import_attribute, is_reference
from hpopt_search_spaces import FloatParameter, Parameter, SearchSpace, nearest_names

from ..errors import StudyError
from .base import NO_PRUNER, AgentSpec, PrunerSpec, Searcher, SearchPlan

AUTO = "auto"  # in place of an agent
STEERING = ("learned", "range-test")  # who move the learning rate in the first trial, best first
KNOWN_OCTAVES = 3  # of a learning rate's range, at least, for policies to say something of it


def _sampler(description: str) -> AgentSpec:
    return AgentSpec(f"{description} (Optuna)", "optuna_proposer:build", prunable=True)


def _agent(description: str, view: str) -> AgentSpec:
    return AgentSpec(f"{description} (SB3)", "agents:build", view=view, validates=True, holds=False)


def _networks(description: str) -> AgentSpec:
    return AgentSpec(
        description,
        "learned:build",
        needs_dynamic_rate=True,
        has_policy=True,
        takes_prior=False,
        teaches=False,
    )


AGENTS = {
    "tpe": _sampler("tree-structured Parzen estimator: models where good trials lie"),
    "gp": _sampler("Gaussian process with expected improvement"),
    "cmaes": _sampler("CMA-ES: moves and shapes a normal distribution"),
    "nsga2": _sampler("evolution: crossover and mutation of the best trials"),
    "qmc": _sampler("quasi-random points that cover the space evenly"),
    "random": _sampler("independent random points"),
    "grid": AgentSpec("every combination of a few levels", "grid:build"),
    "ppo": _agent("proximal policy optimization, acts in every segment", "relative"),
    "a2c": _agent("plain policy gradient, acts in every segment", "relative"),
    "dqn-from-scratch": _agent("Q-learning, ε-greedy, acts in every segment", "discrete"),
    "range-test": AgentSpec(
        "finds the learning rate inside the first trial, rolls back; then TPE around it",
        "range_test:build",
        needs_dynamic_rate=True,
        takes_prior=False,
        teaches=False,
    ),
    "learned": _networks("what of dqn and greedy is worth more, then TPE"),
    "dqn": _networks("range-test's first trial, then Q-learning over studies of tiny models"),
    "greedy": _networks("range-test's first trial, then the least regret seen on tiny models"),
    "default": AgentSpec(
        "the default configuration, once", "default:build", takes_prior=False, teaches=False
    ),
    "hold": AgentSpec(
        "the default configuration, once, at a constant rate: an agent that does nothing",
        "default:build",
        decays=False,
        takes_prior=False,
        teaches=False,
    ),
    "portfolio": AgentSpec(
        "what was best on other tasks, of the studies that --portfolio names",
        "portfolio:build",
        needs_studies=True,
        teaches=False,
    ),
}
PRUNERS = {
    NO_PRUNER: PrunerSpec("every trial runs to its end", "pruners:none"),
    "median": PrunerSpec(
        "stops trials that are worse than the median at the same segment", "pruners:median"
    ),
    "successive-halving": PrunerSpec(
        "only the best third of the trials goes past each checkpoint",
        "pruners:successive_halving",
    ),
    "hyperband": PrunerSpec(
        "successive halving with checkpoints that start at several depths", "pruners:hyperband"
    ),
    "promotion": PrunerSpec(
        "successive halving that pauses trials, and resumes the best third (ASHA)",
        "pruners:none",
        pauses=True,
    ),
}


def find_agent(agent: str, pruner: str = NO_PRUNER) -> AgentSpec:
    """Return what is known of an agent, with a pruner that it goes with.

    Args:
        agent: a name in `AGENTS`, of an entry point in the group "hpopt.searchers", or
            "module:Class".
        pruner: likewise, in `PRUNERS`, "hpopt.pruners", or "module:function".

    Raises:
        StudyError: an unknown name (with the nearest ones), or an agent that takes no pruner.
        WorldError: a module can't be imported, or has no such name.
    """
    spec = AGENTS.get(agent) or _own_agent(agent)
    find_pruner(pruner)
    if pruner == NO_PRUNER:
        return spec
    if not spec.prunable:
        fitting = ", ".join(name for name, other in AGENTS.items() if other.prunable)
        raise StudyError(f"pruner: must go with one of {fitting}, but got agent {agent!r}")
    return replace(spec, validates=True)


def find_pruner(pruner: str) -> PrunerSpec:
    """Return what is known of a pruner, see `find_agent`."""
    if pruner in PRUNERS:
        return PRUNERS[pruner]
    made = _own("pruner", pruner, PRUNERS)
    return PrunerSpec(_first_line(made), made)


def _own_agent(agent: str) -> AgentSpec:
    """Return what is known of somebody else's searcher."""
    made = _own("agent", agent, AGENTS)
    if not hasattr(made, "search") and not (hasattr(made, "ask") and hasattr(made, "tell")):
        raise StudyError(
            f"agent: {agent} must be a class with search, or with ask, report and tell, but got "
            f"{made!r:.100}"
        )
    spec = getattr(made, "spec", AgentSpec())
    if not isinstance(spec, AgentSpec):
        raise StudyError(f"agent: {agent}.spec must be an AgentSpec, but got {spec!r:.100}")
    return replace(spec, description=spec.description or _first_line(made), build=made)


def _own(kind: str, name: str, ours: Iterable[str]) -> Any:
    """Load somebody else's searcher or pruner."""
    others = installed(kind)
    if not is_reference(name) and name not in others:
        near = nearest_names(name, [*ours, *others])
        raise StudyError(f"{kind}: there is no {name!r} ({near})")
    made = import_attribute(others.get(name, name))
    if not callable(made):
        raise StudyError(f"{kind}: {name} must be a class or a function, but got {made!r:.100}")
    return made


def installed(kind: str) -> dict[str, str]:
    """Return "module:name" of what other packages bring, by name.

    Args:
        kind: "agent" or "pruner".
    """
    group = "hpopt.searchers" if kind == "agent" else "hpopt.pruners"
    return {entry.name: entry.value for entry in entry_points(group=group)}


def _first_line(made: Any) -> str:
    return (made.__doc__ or "").strip().partition("\n")[0]


def choose_agent(
    agent: str,
    pruner: str,
    space: SearchSpace | None = None,
    has_probe: bool = True,
    prior: str = "default",
) -> str:
    """Return the agent itself, or who decides where that is left to us.

    That is the first of `STEERING` that can be had, else `tpe`; `docs/results.md` has what they
    are worth.

    Args:
        agent: see `find_agent`, or "auto".
        pruner: see `find_agent`.
        space: resolved; where it isn't known yet, `tpe` stands for all, whose environments are the
            same.
        has_probe: whether the task's loss on a probe batch can be compared over a trial.
        prior: "none" where nothing that is known before is to be made use of.
    """
    if agent != AUTO:
        return agent
    if space is not None and pruner == NO_PRUNER and prior == "default":
        for steering in STEERING:
            if not misfit(steering, space, has_probe):
                return steering
    return "tpe"


def check_prior(agent: str, prior: str) -> None:
    """Check that an agent can go without the default where that is asked.

    Raises:
        StudyError: it begins with the default whatever is asked.
    """
    if prior == "none" and agent != AUTO and not find_agent(agent).takes_prior:
        raise StudyError(f"agent: {agent} begins with what is known, so {agent}-cold can't be")


def check_space(agent: str, space: SearchSpace, has_probe: bool) -> None:
    """Check that an agent can do with a space and a task.

    Raises:
        StudyError: it can't, see `misfit`.
    """
    told = misfit(agent, space, has_probe)
    if told:
        raise StudyError(f"agent: {agent} needs {told}")


def misfit(agent: str, space: SearchSpace, has_probe: bool) -> str:
    """Return what an agent needs that a space or a task hasn't; "" for nothing.

    One that moves the learning rate inside a trial needs a space that allows that, and a loss that
    can tell; one with a policy a range that is wide enough for it to say something.
    """
    spec = find_agent(agent)
    if not spec.needs_dynamic_rate:
        return ""
    if not has_probe:
        return (
            "a task with a loss on fixed examples, but this one has none, since samples are new in "
            "every step or runs are looked up; tpe and others do without"
        )
    octaves = KNOWN_OCTAVES if spec.has_policy else 0
    if any(p.name == "learning_rate" and _may_move(p, octaves) for p in space.parameters):
        return ""
    wide = f"{octaves} octaves or more, " if octaves else ""
    return (
        f"a space with a learning_rate that is a float with {wide}log = true, dynamic = true and "
        f"no active_when, but {space.name!r} has none"
    )


def _may_move(rate: Parameter, octaves: int) -> bool:
    if not isinstance(rate, FloatParameter) or rate.active_when:
        return False
    return rate.log and rate.dynamic and rate.high >= rate.low * 2.0**octaves


def build_searcher(plan: SearchPlan) -> Searcher:
    """Return the searcher of a plan.

    Raises:
        StudyError, WorldError: see `find_agent`.
    """
    build = _imported(find_agent(plan.agent, plan.pruner).build)
    searcher: Searcher
    if hasattr(build, "ask"):
        from .driver import ProposerSearcher, drive
        from .promotion import promote

        loop = promote if find_pruner(plan.pruner).pauses else drive
        searcher = ProposerSearcher(lambda pool: build(plan, pool.space, pool.facts), loop)
    else:
        searcher = build(plan)
    return searcher


def make_pruner(plan: SearchPlan, segments: int) -> Any:
    """Return Optuna's pruner of a plan, for trials of so many segments."""
    return _imported(find_pruner(plan.pruner).build)(plan, segments)


def _imported(build: Any) -> Any:
    if not isinstance(build, str):
        return build
    module, _, name = build.partition(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)
