"""Which nano tasks policies learn from, and which kinds they never see.

Families are drawn as `nano:SEED` are, without what is held out for judging: text, Adagrad, models
of more than 12,000 parameters and trials of more than 320 steps. Nothing of the
built-in tasks is in them either: `text` is the only source that has their text.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from hpopt_envs.nano.families import Family, draw_family

HELD_OUT = ("adagrad", "text", "large", "long")  # named families, to judge on
LARGEST, LONGEST = 12_000, 320  # parameters, and steps of the least batch, of those that are seen


def training_families(seed: int) -> Iterator[Family]:
    """Draw families without end.

    Args:
        seed: 0 draws the families of `nano:0`, `nano:1` and so on, as far as they may be seen, with
            tasks of their own.
    """
    for number in count(seed * 1_000_000):
        family = seen_of(draw_family(number))
        if family is not None:
            yield family


def seen_of(family: Family) -> Family | None:
    """Return what may be seen of a family; None for nothing."""
    sources = tuple(source for source in family.sources if source != "text")
    optimizers = tuple(name for name in family.optimizers if name != "adagrad")
    if family.architecture.parameters > LARGEST or family.horizon > LONGEST:
        return None
    if not (sources and optimizers):
        return None
    return replace(
        family, name=f"pretraining-{family.name}", sources=sources, optimizers=optimizers
    )
