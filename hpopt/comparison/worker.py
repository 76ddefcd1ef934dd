"""A process that runs a comparison's studies one after the other, so that a task is loaded once.

A line of JSON on standard input is a job, a line on standard output what came of it. It ends as
soon as its input does; what it was at is in the study's journal.
"""

import time
from collections.abc import Mapping
from typing import Any

from hpopt_search_spaces.errors import HpoptError

from ..pool.budget import full_run_cost
from ..pool.pipes import open_pipes
from ..searchers.registry import find_agent
from ..settings.study import Settings
from ..study.conducting import conduct
from ..study.display import Display
from ..study.header import environment_settings
from ..study.opening import open_study
from .confirming import confirm_best
from .sharing import make_env

FACTORY = "hpopt.comparison.sharing:make_env"


def main() -> None:
    """Run jobs until standard input ends."""
    receive, reply = open_pipes()
    while True:
        try:
            reply(run_job(receive()))
        except HpoptError as error:
            reply({"error": str(error)})


def run_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run a study, or judge the best of a task's studies on fresh seeds.

    Args:
        job: "settings" of a study and its "about", with "equivalents" that it may spend; or, in
            place of these, "best" studies by searcher and "seeds".

    Returns:
        Seconds that it took, and the best value as its user knows it.
    """
    started = time.monotonic()
    settings = Settings.from_record(job["settings"])
    shown = None
    if "best" in job:
        confirm_best(settings, job["about"], job["best"], job["seeds"], FACTORY)
    else:
        shown = run_study(settings, job["about"], job["equivalents"])
    return {"seconds": time.monotonic() - started, "value": shown}


def run_study(settings: Settings, about: Mapping[str, Any], equivalents: int) -> float | None:
    """Run a study to its end, or go on with it; return its best value as its user knows it."""
    asked = settings.searcher
    spec = find_agent(asked.agent, asked.pruner)
    env = make_env(**environment_settings(settings, spec))
    if not env.facts.external:
        cost = env.facts.setup_cost + equivalents * full_run_cost(env.facts, env.space)
        # The sum is met to rounding: a search of default trials must get all of them.
        settings = settings.changed(cost=cost * (1 + 1e-9), trials=None)
    study = open_study(settings, about, FACTORY)
    return conduct(study, Display(), keeps_weights=False).best_value
