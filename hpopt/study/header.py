"""The first event of a journal: everything that a study depends on, and whether it still holds."""

import dataclasses
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from hpopt_envs.episode.features import OBSERVATION_VERSION
from hpopt_envs.records import RunFacts
from hpopt_envs.worlds import world_of

from ..commands import without_credentials
from ..errors import StudyError
from ..pool.base import Pool
from ..record.history import History
from ..record.lines import Event
from ..searchers import AgentSpec
from ..searchers.base import STARTUP_LIMIT
from ..searchers.portfolio import make_portfolio
from ..settings.groups import DEFAULT_TRIALS
from ..settings.study import Settings

# Earlier versions whose studies this one goes on with. An agent's goes on with the rewards and the
# observation of now: in those of version 2, a slope over more segments than there were is 0. Up to
# version 3, probes say nothing of what is retained.
GO_ON = {"hpopt": ("0.2.0",), "observation": ("2", "3")}
PACKAGES = ("torch", "numpy", "transformers", "optuna", "stable-baselines3", "gymnasium", "hpopt")


def environment_settings(settings: Settings, spec: AgentSpec) -> dict[str, Any]:
    """Return the arguments of the environment's factory, as the journal and workers get them."""
    asked, workers = settings.environment, settings.machine.workers
    arguments = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}
    return arguments | {
        # The space itself, so that a study doesn't change with the file it was read from.
        "space": None if asked.space is None else asked.load_space(asked.space).to_dict(),
        "data": asked.data.given,
        "script": asked.script.given,
        "view": spec.view,
        # What a script reports is there whether anybody needs it or not.
        "validate_segments": spec.validates or world_of(asked.task).runs_commands,
        "threads": max(1, len(os.sched_getaffinity(0)) // workers),
    }


def make_header(
    settings: Settings,
    name: str,
    environment: dict[str, Any],
    pool: Pool,
    sources: Sequence[History] = (),
    policy: str | None = None,
) -> Event:
    """Return a new study's first event.

    Args:
        settings: of the study.
        name: of the study.
        environment: see `environment_settings`.
        pool: of the study's workers.
        sources: that its portfolio is made of; it is kept here, so that they may change later.
        policy: digest of the one that its searcher goes by; None for most.

    Raises:
        StudyError: no portfolio can be made of the sources.
    """
    planned = settings.budget.trials
    if planned is None and settings.budget.cost is not None:
        full = pool.facts.trial_tokens * (pool.facts.token_cost + pool.facts.penalty_cost)
        planned = max(1, int(settings.budget.cost / (full + pool.facts.final_validation_cost)))
    planned = planned or DEFAULT_TRIALS
    header = {
        "event": "study",
        "name": name,
        "task": pool.facts.task,
        "model": pool.facts.model,
        "agent": settings.searcher.agent,
        "pruner": settings.searcher.pruner,
        "seed": settings.searcher.seed,
        "workers": settings.machine.workers,
        "experiment": settings.tracking.experiment or pool.facts.task,
        "settings": kept(settings),
        "environment": environment,
        "planned_trials": planned,
        "startup_limit": STARTUP_LIMIT,
        "space": pool.space.to_dict(),
        "facts": dataclasses.asdict(pool.facts),
        "versions": _versions(),
    }
    if policy is not None:
        header["policy"] = policy
    if sources:
        task, space = pool.facts.task, pool.space
        header["portfolio"] = make_portfolio(sources, task, space, planned, settings.searcher.prior)
    return header


def kept(settings: Settings) -> dict[str, Any]:
    """Return settings as they are written down: no file has credentials."""
    values, uri = settings.flat(), settings.tracking.tracking_uri
    return values | {"tracking_uri": None if uri is None else without_credentials(uri)}


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "observation": str(OBSERVATION_VERSION),  # what journaled observations mean
        **packages,
    }


def check_versions(header: Event) -> None:
    """Refuse to go on with other versions of Python and of packages than the study's."""
    then, now = dict(header.get("versions", {})), _versions()
    then |= {name: now[name] for name, fit in GO_ON.items() if then.get(name) in fit}
    _compare(header, then, now)


def check_same(header: Event, pool: Pool) -> None:
    """Refuse to go on with other data or another model than the study's.

    What the base model is worth is measured anew: other code of a reward, a task or a metric tells
    itself by that.
    """
    then = {
        "data": header["facts"]["data_hash"],
        "model": header["facts"]["model_hash"],
    }
    now = {
        "data": pool.facts.data_hash,
        "model": pool.facts.model_hash,
    }
    _compare(header, then, now)
    _compare_base(header, pool.facts)


def agent_of(header: Event) -> str:
    """Return who decides in a study, as the registry names it.

    "dqn" had no policy up to 2026-11: it learned from scratch, in the study's own trials.
    """
    agent = str(header["agent"])
    return "dqn-from-scratch" if agent == "dqn" and "policy" not in header else agent


def check_policy(header: Event, digest: str | None) -> None:
    """Refuse to go on with another policy than the study's."""
    _compare(header, {"policy": header.get("policy")}, {"policy": digest})


def _compare_base(header: Event, now: RunFacts) -> None:
    """Refuse to go on where the base model is judged otherwise than when the study began."""
    if now.external:
        return  # there is none
    facts, metric = header["facts"], now.objective_name
    before = {**facts["base_metrics"], "objective": facts["base_objective"]}
    after = {**now.base_metrics, "objective": now.base_objective}
    for name in dict.fromkeys(["objective", metric, *before, *after]):
        one, other = before.get(name), after.get(name)
        if one is None or other is None or not _are_close(one, other):
            raise StudyError(
                f"resume: the base model must be judged as when the study {header['name']!r} "
                f"began, with {name} {one}, but now it has {other}: is the code of the task, its "
                "reward or its metrics another?"
            )


def _are_close(one: float, other: float) -> bool:
    """Return whether two figures differ by no more than another machine's rounding."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)


def _compare(header: Event, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for what, value in now.items():
        if value != then.get(what):
            raise StudyError(
                f"resume: {what} must be what the study {header['name']!r} began with, "
                f"{str(then.get(what))[:80]}, but got {str(value)[:80]}"
            )
