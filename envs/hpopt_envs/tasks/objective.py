"""What a task is tuned for, where its user asks for something else than it does itself."""

from ..errors import WorldError
from ..settings import NO_LIMIT
from .base import Task
from .roles import has_reference


def set_objective(task: Task, objective: str | None, forgetting_weight: float | None) -> None:
    """Give a task another objective.

    Args:
        task: to be changed.
        objective: METRIC, METRIC:min or METRIC:max; None for the task's own. What a nat of
            forgetting weighs follows the scale of the metric.
        forgetting_weight: in the objective; None for the task's own.

    Raises:
        WorldError: the objective has another form.
    """
    if objective is not None:
        name, _, direction = objective.partition(":")
        if direction not in ("", "min", "max"):
            raise WorldError(
                f"objective: must be METRIC, METRIC:min or METRIC:max, got {objective!r}"
            )
        if name != task.objective:
            scale = task.metric_scales.get(name, 1.0)
            task.forgetting_weight *= scale / task.objective_scale
            task.objective_scale = scale
            task.unit = ""
            task.maximize = False
        task.objective = name
        task.maximize = direction == "max" if direction else task.maximize
    if forgetting_weight is not None:
        task.forgetting_weight = forgetting_weight


def divergence_limit(asked: float | str | None, task: Task | None) -> float | None:
    """Return the limit on divergence that holds.

    Args:
        asked: a number; "none" for no limit, None for the task's own.
        task: None for one that isn't trained.

    Raises:
        WorldError: a limit was asked for, and the task's divergence isn't measured.
    """
    if asked == NO_LIMIT:
        return None
    if asked is None:
        return None if task is None else task.default_max_divergence
    if task is not None and not has_reference(task):
        raise WorldError(
            f"max_divergence: needs a task with a reference, but {task.name!r} has none"
        )
    return float(asked)
