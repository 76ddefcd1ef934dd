"""Where the blocks of a comparison begin: at the default, or as far from it as somebody might be.

A default that was fitted to the very tasks that are compared flatters whoever begins with it. A
comparison may therefore move the learning rate's default and range, by a normal draw of octaves for
each task and seed, the same for all searchers.
"""

from statistics import NormalDist
from typing import TYPE_CHECKING

from hpopt_envs.errors import WorldError
from hpopt_envs.randomness import key
from hpopt_envs.worlds import world_of

from ..errors import StudyError

if TYPE_CHECKING:
    from .settings import ComparisonSettings

DRAWS = 2**63  # of `key`
DIGITS = 4  # of octaves


def displacement(spread: float, task: str, seed: int) -> float:
    """Return the octaves that a block's learning rate is displaced by.

    Args:
        spread: standard deviation, in octaves; one that is twice as large gives twice as much.
        task: its name.
        seed: of the block.
    """
    if not spread:
        return 0.0
    share = (key("displacement", task, seed) + 0.5) / DRAWS
    return round(spread * NormalDist().inv_cdf(share), DIGITS)


def check_displaced(settings: "ComparisonSettings") -> None:
    """Make sure, before anything is loaded, that learning rates can be displaced on all tasks.

    Raises:
        HpoptError: they can't.
    """
    for task in settings.tasks:
        if not world_of(task).repeats:
            raise StudyError(f"displace: must be left out for finished runs, but got task {task}")
        seeds = range(settings.seeds)
        farthest = max(seeds, key=lambda seed: abs(settings.displacement(task, seed)))
        for who in settings.contestants:
            study = settings.study_settings("", task, who, farthest)
            try:
                study.environment.load_space("default")  # or what is asked for
            except WorldError as error:
                told = str(error).removeprefix("displacement: ")
                raise StudyError(f"displace: {told}") from None


def displacements(settings: "ComparisonSettings") -> list[str]:
    """Return a line for each task that says how far its blocks are displaced, if they are."""
    if not settings.displace:
        return []
    return [
        f"learning rates on {task} displaced by "
        + ", ".join(f"{settings.displacement(task, seed):+.2f}" for seed in range(settings.seeds))
        + " octaves"
        for task in settings.tasks
    ]
