"""What is known of a task before its data and its model are loaded."""

from hpopt_search_spaces import SearchSpace

from ..settings import EnvironmentSettings
from .base import Task
from .roles import Rollouts, has_reference


def space_of(task: Task, settings: EnvironmentSettings) -> SearchSpace:
    """Return the space that is asked for, or the task's own; not resolved.

    Raises:
        SpaceError, WorldError: there is no such space, or what is said of it doesn't fit.
    """
    return settings.load_space(
        task.default_space or ("default" if has_reference(task) else "plain")
    )


def has_probe(task: Task) -> bool:
    """Return whether the loss on a probe batch can be compared over a trial."""
    return not isinstance(task, Rollouts)
