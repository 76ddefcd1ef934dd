"""The configurations of a space that a value network knows: its grid, laid over the space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hpopt_envs.records import RunFacts
from hpopt_envs.training.plan import WHOLE_BATCH
from hpopt_search_spaces import FloatParameter, IntegerParameter, SearchSpace, Value

from ..policies.grid import BATCH_MULTIPLES, DIVERGENCE_WEIGHTS

RATE, BATCH, WEIGHT = "learning_rate", "batch_size", "divergence_weight"


@dataclass(frozen=True)
class Cells:
    """A grid of learning rates, an octave apart, divergence weights and batch sizes.

    Attributes:
        space: resolved.
        rate: its learning rate, on a logarithmic scale.
        lowest: learning rate of the grid; the default is on it.
        levels: learning rates.
        batches: batch sizes of the grid; empty where the batch is held at its default.
        weights: divergence weights of the grid; empty where it is held, since it isn't in the
            space, or nothing says what is forgotten.
        held: what is held of these two.
        column: of the grid's divergence weights, that stands for one which is held.
        steps: of the smallest batch in a trial.
    """

    space: SearchSpace
    rate: FloatParameter
    lowest: float
    levels: int
    batches: tuple[int, ...]
    weights: tuple[float, ...]
    held: Mapping[str, Value]
    column: int
    steps: int

    @classmethod
    def of(cls, space: SearchSpace, facts: RunFacts) -> "Cells":
        """Lay the grid over a space."""
        rate = space[RATE]
        assert isinstance(rate, FloatParameter)  # see `registry.check_space`
        default = float(rate.default)
        lowest = default / 2.0 ** math.floor(math.log2(default / rate.low) + 1e-3)
        held = {**space.defaults(), **facts.fixed}
        forgets = "forgetting" in facts.base_metrics
        weights = _weights(space) if forgets else ()
        batches = _batches(space)
        size = batches[0] if batches else held.get(BATCH, 1)
        tokens = facts.epoch_tokens if size == WHOLE_BATCH else int(size) * facts.sequence_length
        return cls(
            space=space,
            rate=rate,
            lowest=lowest,
            levels=math.floor(math.log2(rate.high / lowest) + 1e-3) + 1,
            batches=batches,
            weights=weights,
            held={name: held[name] for name in (BATCH, WEIGHT) if name in held},
            column=_nearest(float(held.get(WEIGHT, 0.0))) if forgets else 0,
            steps=max(1, facts.trial_tokens // max(1, tokens)),
        )

    @property
    def legal(self) -> torch.Tensor:
        """Which of the grid's cells the space has, shape (CELLS,)."""
        columns = range(len(DIVERGENCE_WEIGHTS))
        weights = [DIVERGENCE_WEIGHTS[c] in self.weights for c in columns]
        weights = weights if self.weights else [c == self.column for c in columns]
        batches = [m < max(1, len(self.batches)) for m in range(len(BATCH_MULTIPLES))]
        return torch.tensor([w and b for w in weights for b in batches])

    def rate_at(self, level: float) -> float:
        """Return the learning rate of a level, which needn't be whole; it stays in its range."""
        return float(self.rate.snap(min(self.rate.high, self.lowest * 2.0**level)))

    def level_of(self, rate: float) -> float:
        """Return where a learning rate lies, which needn't be whole."""
        return math.log2(rate / self.lowest)

    def values(self, cell: int, level: float) -> dict[str, Value]:
        """Return the configuration of a cell, all others at their defaults.

        Args:
            cell: of the grid.
            level: of the learning rate, which needn't be whole.
        """
        chosen: dict[str, Value] = {RATE: self.rate_at(level)}
        shown = self.shown(cell)
        chosen |= {name: shown[name] for name in (BATCH, WEIGHT) if name in self.space}
        return self.space.snap({**self.space.defaults(), **chosen})

    def shown(self, cell: int) -> dict[str, Value]:
        """Return divergence weight and batch size of a cell, as far as there are any."""
        column, multiple = divmod(cell, len(BATCH_MULTIPLES))
        own: dict[str, Value] = dict(self.held)
        if self.weights:
            own[WEIGHT] = DIVERGENCE_WEIGHTS[column]
        if self.batches:
            own[BATCH] = self.batches[multiple]
        return own

    def place(self, values: Mapping[str, Value]) -> tuple[int, int]:
        """Return the level and the cell that are nearest to a configuration."""
        level = round(self.level_of(float(values[RATE])))
        column, multiple = self.column, 0
        if self.weights:
            column = _nearest(float(values[WEIGHT]))
        if self.batches:
            sizes = [abs(math.log2(int(values[BATCH]) / size)) for size in self.batches]
            multiple = sizes.index(min(sizes))
        return min(max(level, 0), self.levels - 1), column * len(BATCH_MULTIPLES) + multiple


def _weights(space: SearchSpace) -> tuple[float, ...]:
    """Return the grid's divergence weights that a space has; none where it may lack a number."""
    if WEIGHT not in space or not isinstance(space[WEIGHT], FloatParameter):
        return ()
    if space[WEIGHT].active_when:
        return ()
    snap = space[WEIGHT].snap
    return tuple(w for w in DIVERGENCE_WEIGHTS if math.isclose(w, float(snap(w)), rel_tol=1e-6))


def _batches(space: SearchSpace) -> tuple[int, ...]:
    """Return the multiples of the smallest batch that a space has, in the order of the grid's."""
    if BATCH not in space or not isinstance(space[BATCH], IntegerParameter):
        return ()
    parameter = space[BATCH]
    if parameter.active_when:
        return ()
    smallest = max(1, int(parameter.from_unit(0.0)))
    wanted = [smallest * multiple for multiple in BATCH_MULTIPLES]
    return tuple(size for size in wanted if int(parameter.snap(size)) == size)


def _nearest(weight: float) -> int:
    """Return the index of the grid's divergence weight that is nearest, on a log scale from .1."""
    distances = [abs(math.log((weight + 0.1) / (w + 0.1))) for w in DIVERGENCE_WEIGHTS]
    return distances.index(min(distances))
