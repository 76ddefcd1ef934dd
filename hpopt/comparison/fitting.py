"""Which searchers can take part on which tasks, told before anything is loaded."""

from collections.abc import Sequence

from hpopt_envs.worlds import world_of

from ..searchers.registry import misfit
from ..settings.study import Settings
from .contestants import Contestant


def fitting(labels: Sequence[str], study: Settings, tasks: Sequence[str]) -> tuple[str, ...]:
    """Return those searchers that can do with every task.

    Args:
        labels: of searchers.
        study: what all studies share.
        tasks: their names.

    Raises:
        HpoptError: there is no such task or space.
    """
    found = tuple(labels)
    for task in tasks:
        asked = study.changed(task=task)
        found = tuple(label for label in found if _fits(Contestant.parse(label), asked))
    return found


def _fits(who: Contestant, study: Settings) -> bool:
    environment = study.environment
    world = world_of(environment.task)
    if not world.may_move:
        return who.spec.holds and not who.spec.needs_dynamic_rate
    if not who.spec.needs_dynamic_rate:
        return True
    if world.trains:
        from hpopt_envs.tasks import load_task
        from hpopt_envs.tasks.preview import has_probe, space_of

        task = load_task(environment.task, environment.data)
        space, probed = space_of(task, environment), has_probe(task)
    else:
        space, probed = environment.load_space("default"), True
    return not misfit(who.agent, space, probed)
