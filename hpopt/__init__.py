"""hpopt finds how to fine-tune a language model within a compute budget.

    import hpopt
    result = hpopt.search(task="lm", trials=6)
    result.best_value, result.schedule

Nothing heavy is imported before it is needed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpopt_search_spaces.errors import HpoptError

from .errors import StudyError

if TYPE_CHECKING:
    from .study.result import StudyResult

__all__ = ["HpoptError", "StudyError", "resume", "search"]


def search(**settings: Any) -> "StudyResult":
    """Run a study and return its result; nothing is printed.

    Args:
        **settings: those of `python -m hpopt search`, with underscores; durations in seconds,
            `baseline` as a mapping.

    Raises:
        HpoptError: one line that says what must hold and what was got.
    """
    from .settings.study import Settings
    from .study.display import Display
    from .study.running import search as run

    return run(Settings.of(settings), Display())


def resume(name: str, *, runs: str = "runs", **changes: Any) -> "StudyResult":
    """Go on with a study that was cut off, or extend it, and return its result.

    Args:
        name: of the study.
        runs: folder that studies are kept in.
        **changes: new limits: `trials`, `cost` or `time_limit`.

    Raises:
        HpoptError: one line that says what must hold and what was got.
    """
    from .study.display import Display
    from .study.running import resume as run

    limits: Mapping[str, Any] = changes
    return run(name, runs, limits, Display())
