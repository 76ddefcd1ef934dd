"""Families of nano tasks: what tasks of one shape have in common, and what is drawn for each.

`nano:NAME` is the first task of a named family, `nano:NAME:7` another one; `nano:123` is of a
family that is itself drawn, from seed 123.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import WorldError
from ..randomness import key
from ..worlds import NANO_PREFIX
from .models import BODY, EMBEDDINGS, HEAD, Architecture
from .optimizers import KINDS
from .sources import SOURCES, Random

Range = tuple[float, float]

ALL = "all"
PARTS = (ALL, HEAD, EMBEDDINGS, BODY)
LEAST_BATCH = 4  # examples: the smallest batch of the space
SEGMENTS = 16  # a trial
# How a family is drawn.
SIZES: Range = (2_000, 120_000)  # parameters, about; log-uniform
HORIZONS = (64, 128, 256, 512, 640)  # steps of the least batch
LONG_HORIZONS = (1_024, 2_048)
SHARES = {"attention": 0.3, "classify": 0.2, "low_rank": 0.25, "long": 0.06}  # of families


@dataclass(frozen=True)
class Family:
    """A distribution of tasks whose models can be trained side by side.

    Attributes:
        name: as users write it.
        architecture: of all models.
        sources: kinds of text, keys of `hpopt_envs.nano.sources.SOURCES`; one is drawn for a task.
        classes: 0 for a language model; else how many sources a classifier tells apart.
        optimizers: one is drawn for a task.
        parts: of the model that are trained, of `PARTS`; one is drawn for a task.
        rank: of adapters, where these are trained instead.
        horizon: of a trial, in steps of `LEAST_BATCH` examples; a multiple of 4 · `SEGMENTS`.
        pretraining: steps of the base model; log-uniform, and none for `untrained` of the tasks.
        untrained: share of tasks whose base model knows nothing, in [0, 1].
        examples: of the training set, log-uniform; few of them are learned by heart.
        noise: share of labels that are wrong, uniform, but 0 for most tasks where it begins at 0.
        distance: of the target from the text to be retained, uniform in [0, 1].
        spread: standard deviation of the log2 scale of parameters, see
            `hpopt_envs.nano.parts.Whole`: between tasks, and between blocks of one.
    """

    name: str
    architecture: Architecture
    sources: tuple[str, ...] = SOURCES
    classes: int = 0
    optimizers: tuple[str, ...] = ("adamw", "momentum", "sgd", "adagrad")
    parts: tuple[str, ...] = PARTS
    rank: int | None = None
    horizon: int = 128
    pretraining: Range = (70, 700)
    untrained: float = 0.1
    examples: Range = (32, 2_500)
    noise: Range = (0.0, 0.3)
    distance: Range = (0.1, 1.0)
    spread: Range = (1.0, 0.7)

    @property
    def largest_batch(self) -> int:
        """Examples: what divides a segment, at most 16 of the least."""
        steps = self.horizon // SEGMENTS
        return LEAST_BATCH * min(16, steps & -steps)

    def task(self, seed: int) -> "NanoTask":
        """Return the task of a seed."""
        random = np.random.default_rng(key("nano", self.name, seed))
        noisy = self.noise[0] > 0 or random.random() < 0.3
        return NanoTask(
            family=self,
            seed=seed,
            source=_choice(self.sources, random),
            optimizer=_choice(self.optimizers, random),
            part=_choice(self.parts, random),
            pretraining=(
                0 if random.random() < self.untrained else round(_log(self.pretraining, random))
            ),
            examples=round(_log(self.examples, random)),
            noise=random.uniform(*self.noise) if noisy else 0.0,
            distance=random.uniform(*self.distance),
            forgetting_weight=0.0 if random.random() < 0.3 else round(random.random(), 2),
            scale=2 ** random.normal(0.0, self.spread[0]),
            block_scales={
                name: 2 ** random.normal(0.0, self.spread[1]) for name in self.architecture.blocks
            },
        )


@dataclass(frozen=True)
class NanoTask:
    """One task: all numbers that its model and data follow from; see `Family` for their meaning.

    Attributes:
        forgetting_weight: of the objective.
        scale, block_scales: of its parameters, and of those of each block beside.
    """

    family: Family
    seed: int
    source: str
    optimizer: str
    part: str
    pretraining: int
    examples: int
    noise: float
    distance: float
    forgetting_weight: float
    scale: float
    block_scales: Mapping[str, float] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{NANO_PREFIX}{self.family.name}:{self.seed}"

    def random(self, what: str) -> Random:
        """Return the generator of something that the task is made of."""
        return np.random.default_rng(key("nano", self.family.name, self.seed, what))


def draw_family(seed: int) -> Family:
    """Return the family of a seed: sizes, sources, optimizers, horizon and form drawn widely."""
    random = np.random.default_rng(key("nano family", seed))

    def happens(what: str) -> bool:
        return bool(random.random() < SHARES[what])

    attention, classify = happens("attention"), happens("classify")
    low_rank, long = happens("low_rank"), happens("long")
    horizons = LONG_HORIZONS if long else HORIZONS
    return Family(
        name=str(seed),
        architecture=_architecture(attention, _log(SIZES, random), random),
        sources=_some(SOURCES, random),
        classes=int(random.integers(2, 9)) if classify else 0,
        optimizers=_some(tuple(KINDS), random),
        rank=2 ** int(random.integers(0, 4)) if low_rank else None,
        horizon=horizons[int(random.integers(len(horizons)))],
    )


def named_families() -> dict[str, Family]:
    """Return the families that have names, each a part of what may be drawn."""
    small = Architecture(False, vocabulary=40, context=3, width=6, hidden=32)
    middle = replace(small, context=4, width=8, hidden=48)
    attention = Architecture(True, vocabulary=40, context=8, width=16, hidden=32)
    large = replace(middle, vocabulary=64, context=8, width=40, hidden=288)
    families = [
        Family("markov", small, sources=("markov",), horizon=64),
        Family("hmm", small, sources=("hmm",), horizon=64),
        Family("templates", small, sources=("templates",), horizon=64),
        Family("text", small, sources=("text",), distance=(0.5, 1.0)),
        Family("attention", attention),
        Family("adagrad", small, optimizers=("adagrad",)),
        Family("classify", middle, classes=4),
        Family("low-rank", middle, rank=3),
        Family("tiny", small, examples=(8, 32), horizon=256, noise=(0.1, 0.3)),
        Family("large", large, ("text",), horizon=256, distance=(0.5, 1.0), spread=(0.0, 0.0)),
        Family("long", small, horizon=1_024),
    ]
    return {family.name: family for family in families}


def read_task(name: str) -> NanoTask:
    """Return the task of a name: `nano:FAMILY` or `nano:FAMILY:SEED`.

    Raises:
        WorldError: there is no such family, or the seed isn't a whole number.
    """
    family, _, seed = name.removeprefix(NANO_PREFIX).partition(":")
    named = named_families()
    if not (family in named or family.isdecimal()):
        raise WorldError(
            f"task: the family of a nano task must be {', '.join(named)}, or a whole number that "
            f"one is drawn from, but got {name!r}"
        )
    if not (seed or "0").isdecimal():
        raise WorldError(f"task: the seed of a nano task must be a whole number, but got {name!r}")
    found = named[family] if family in named else draw_family(int(family))
    return found.task(int(seed or 0))


def _architecture(attention: bool, parameters: float, random: Random) -> Architecture:
    """Return one of about so many parameters."""
    vocabulary = int(random.integers(24, 65))
    context = 8 if attention else int(random.integers(3, 9))
    ratio = random.uniform(1.0, 3.0) if attention else random.uniform(3.0, 8.0)
    width = 4
    while True:
        found = Architecture(attention, vocabulary, context, width, round(ratio * width))
        if found.parameters >= parameters:
            return found
        width += 1


def _log(ends: Range, random: Random) -> float:
    return math.exp(random.uniform(math.log(ends[0]), math.log(ends[1])))


def _choice(names: tuple[str, ...], random: Random) -> str:
    return names[int(random.integers(len(names)))]


def _some(names: tuple[str, ...], random: Random) -> tuple[str, ...]:
    """Return one or more of the names."""
    kept = [name for name in names if random.random() < 0.5]
    return tuple(kept) or (_choice(names, random),)
