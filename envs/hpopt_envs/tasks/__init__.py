"""What can be tuned: the built-in tasks, and those of others."""

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from ..errors import WorldError
from ..models import call, import_attribute, is_reference
from .base import Data, Split, Task
from .lm import LanguageModeling

__all__ = ["Data", "Split", "Task", "available_tasks", "load_task"]

_BUILT_IN: dict[str, type[Task]] = {"lm": LanguageModeling}
_SIMULATED = ("simulated", "A noisy quadratic instead of training: milliseconds a trial.")


def load_task(name: str) -> Task:
    """Makes a task.

    Args:
        name: of a built-in task, or of an installed one (an entry point of group "hpopt.tasks"),
            or "module:Class", with modules of the working directory first.

    Raises:
        WorldError: there is no such task, or it can't be made, or isn't a `Task`.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    reference = name
    if not is_reference(name):
        installed = _installed()
        if name not in installed:
            known = [task for task, _ in available_tasks()]
            nearest = " or ".join(map(repr, get_close_matches(name, known) or known))
            raise WorldError(f"task: must be {nearest} or 'module:Class', but got {name!r}")
        reference = installed[name].value
    task = call(import_attribute(reference), reference)
    if not isinstance(task, Task):
        raise WorldError(f"{reference} must be a subclass of hpopt_envs.Task, got {task!r:.100}")
    task.name = task.name or name
    return task


def available_tasks() -> list[tuple[str, str]]:
    """Names and one-line descriptions: the built-in ones, then the installed ones."""
    built_in = [(name, str(task.__doc__).splitlines()[0]) for name, task in _BUILT_IN.items()]
    others = [(name, f"Installed: {entry.value}.") for name, entry in sorted(_installed().items())]
    return [*built_in, _SIMULATED, *others]


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="hpopt.tasks")}
