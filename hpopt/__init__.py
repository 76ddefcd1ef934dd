"""hpopt finds how to fine-tune a language model within a compute budget.

    import hpopt
    result = hpopt.search(task="lm", trials=6)
    result.best_value, result.schedule

Nothing heavy is imported before it is needed.
"""

import importlib
from typing import TYPE_CHECKING, Any, Unpack

from hpopt_search_spaces.errors import HpoptError

from .errors import StudyError
from .reporting import report

if TYPE_CHECKING:
    from .searchers.base import AgentSpec, Proposal, Proposer, Searcher, SearchPlan
    from .settings.keywords import SearchKeywords
    from .settings.study import Settings
    from .study.result import StudyResult

    __version__: str

__all__ = [
    "AgentSpec",
    "HpoptError",
    "Proposal",
    "Proposer",
    "SearchPlan",
    "Searcher",
    "Settings",
    "StudyError",
    "StudyResult",
    "__version__",
    "report",
    "resume",
    "search",
]

_LAZY = {
    "AgentSpec": "searchers.base",
    "Proposal": "searchers.base",
    "Proposer": "searchers.base",
    "SearchPlan": "searchers.base",
    "Searcher": "searchers.base",
    "Settings": "settings.study",
    "StudyResult": "study.result",
}


def search(**settings: Unpack["SearchKeywords"]) -> "StudyResult":
    """Run a study and return its result; nothing is printed, and the process stays as it was.

    Args:
        **settings: those of `python -m hpopt search`, with underscores; durations in seconds,
            `baseline` and `fix` as mappings.

    Raises:
        HpoptError: one line that says what must hold and what was got.
    """
    from .settings.study import Settings
    from .study.caller import callers_process
    from .study.display import Display
    from .study.running import search as run

    asked = Settings.of(settings)
    with callers_process():
        return run(asked, Display())


def resume(
    name: str,
    *,
    runs: str = "runs",
    trials: int | None = None,
    cost: float | None = None,
    time_limit: float | None = None,
) -> "StudyResult":
    """Go on with a study that was cut off, or extend it, and return its result.

    Args:
        name: of the study.
        runs: folder that studies are kept in.
        trials: a new budget in full trials; None leaves it as it was.
        cost: a new budget in token-equivalents; likewise.
        time_limit: a new budget of time in seconds; likewise.

    Raises:
        HpoptError: one line that says what must hold and what was got.
    """
    from .study.caller import callers_process
    from .study.display import Display
    from .study.running import resume as run

    limits = {"trials": trials, "cost": cost, "time_limit": time_limit}
    changes = {limit: value for limit, value in limits.items() if value is not None}
    with callers_process():
        return run(name, runs, changes, Display())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hpopt")
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
