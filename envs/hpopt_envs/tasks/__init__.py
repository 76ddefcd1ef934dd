"""What can be tuned: the built-in tasks, and those of others."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import WorldError
from ..references import call, import_attribute, is_reference
from ..settings import Source
from ..worlds import FINISHED_RUNS, NANO, SCRIPT, SIMULATION
from .base import Task
from .checks import check_roles
from .data import Data, Split
from .roles import ParametricLoss, ParametricMetrics, Reference, Rollouts, Writing
from .suite import BUILT_IN

__all__ = [
    "Data",
    "ParametricLoss",
    "ParametricMetrics",
    "Reference",
    "Rollouts",
    "Source",
    "Split",
    "Task",
    "Writing",
    "available_tasks",
    "load_task",
]


def load_task(name: str, data: Source | Mapping[str, Any] | None = None) -> Task:
    """Make a task.

    Args:
        name: of a built-in task, or of an installed one (an entry point of group "hpopt.tasks"),
            or "module:Class", with modules of the working directory first.
        data: settings of the user's data, or a mapping of them; built-in tasks take those that
            they name.

    Raises:
        WorldError: there is no such task, or it can't be made, or isn't a `Task`, or doesn't take
            such data.
    """
    source = data if isinstance(data, Source) else Source.of(data or {})
    if name in BUILT_IN:
        built_in = BUILT_IN[name]
        _check_settings(source, built_in.kind.settings, name)
        return built_in.make(name, source)
    reference = name
    if not is_reference(name):
        installed = _installed()
        if name not in installed:
            known = [task for task, _ in available_tasks()]
            nearest = " or ".join(map(repr, get_close_matches(name, known) or known))
            raise WorldError(f"task: must be {nearest} or 'module:Class', but got {name!r}")
        reference = installed[name].value
    _check_settings(source, (), name)
    task = call(import_attribute(reference), reference)
    if not isinstance(task, Task):
        raise WorldError(f"{reference} must be a subclass of hpopt_envs.Task, got {task!r:.100}")
    task.name = task.name or name
    check_roles(task)
    return task


def _check_settings(source: Source, taken: tuple[str, ...], task: str) -> None:
    for setting in source.given:
        if setting not in taken:
            raise WorldError(f"{setting}: must be left out, since task {task!r} doesn't take it")


def available_tasks() -> list[tuple[str, str]]:
    """Return names with one-line descriptions: built in, stand-ins, and installed ones."""
    built_in = [(name, task.description) for name, task in BUILT_IN.items()]
    others = [(name, f"Installed: {entry.value}.") for name, entry in sorted(_installed().items())]
    stand_ins = [
        (world.task, world.description) for world in (SCRIPT, SIMULATION, NANO, FINISHED_RUNS)
    ]
    return [*built_in, *stand_ins, *others]


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="hpopt.tasks")}
