"""The configurations of a space that a value network knows: its grid, laid over the space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hpopt_envs.records import RunFacts
from hpopt_search_spaces import FloatParameter, SearchSpace, Value

from ..policies.grid import BATCH_MULTIPLES, DIVERGENCE_WEIGHTS

RATE, BATCH, WEIGHT = "learning_rate", "batch_size", "divergence_weight"


@dataclass(frozen=True)
class Cells:
    """A grid of learning rates, an octave apart, divergence weights and batch sizes.

    Attributes:
        space: resolved.
        rate: its learning rate, on a logarithmic scale.
        levels: learning rates, from the low end of the range on.
        batches: batch size of each multiple; one where the space leaves no choice.
        weights: divergence weights, in the same order as the grid's; empty where it is held at the
            default, since it isn't in the space, or nothing says what is forgotten.
        column: of the grid's divergence weights, that stands for one which is held.
        steps: of the smallest batch in a trial.
    """

    space: SearchSpace
    rate: FloatParameter
    levels: int
    batches: tuple[int, ...]
    weights: tuple[float, ...]
    column: int
    steps: int

    @classmethod
    def of(cls, space: SearchSpace, facts: RunFacts) -> "Cells":
        """Lay the grid over a space."""
        rate = space[RATE]
        assert isinstance(rate, FloatParameter)  # see `registry.check_space`
        levels = math.floor(math.log2(rate.high / rate.low) + 1e-3) + 1
        held = {**space.defaults(), **facts.fixed}
        forgets = "forgetting" in facts.base_metrics
        weights = _legal(space, WEIGHT, DIVERGENCE_WEIGHTS) if forgets else ()
        smallest = _smallest_batch(space, held)
        wanted = tuple(smallest * multiple for multiple in BATCH_MULTIPLES)
        batches = tuple(int(size) for size in _legal(space, BATCH, wanted)) or (smallest,)
        return cls(
            space=space,
            rate=rate,
            levels=levels,
            batches=batches,
            weights=tuple(float(weight) for weight in weights),
            column=_nearest(float(held.get(WEIGHT, 0.0))) if forgets else 0,
            steps=max(1, facts.trial_tokens // (smallest * facts.sequence_length)),
        )

    @property
    def legal(self) -> torch.Tensor:
        """Which of the grid's cells the space has, shape (CELLS,)."""
        columns = range(len(DIVERGENCE_WEIGHTS))
        weights = [DIVERGENCE_WEIGHTS[c] in self.weights for c in columns]
        weights = weights if self.weights else [c == self.column for c in columns]
        batches = [m < len(self.batches) for m in range(len(BATCH_MULTIPLES))]
        return torch.tensor([w and b for w in weights for b in batches])

    def level_of(self, rate: float) -> float:
        """Return where a learning rate lies, which needn't be whole."""
        return math.log2(rate / self.rate.low)

    def values(self, cell: int, level: float) -> dict[str, Value]:
        """Return the configuration of a cell, all others at their defaults.

        Args:
            cell: of the grid.
            level: of the learning rate, which needn't be whole.
        """
        column, multiple = divmod(cell, len(BATCH_MULTIPLES))
        chosen: dict[str, Value] = {RATE: self.rate.snap(self.rate.low * 2.0**level)}
        if self.weights:
            chosen[WEIGHT] = DIVERGENCE_WEIGHTS[column]
        if BATCH in self.space:
            chosen[BATCH] = self.batches[multiple]
        return self.space.snap({**self.space.defaults(), **chosen})

    def shown(self, cell: int) -> dict[str, Value]:
        """Return divergence weight and batch size of a cell."""
        column, multiple = divmod(cell, len(BATCH_MULTIPLES))
        return {WEIGHT: DIVERGENCE_WEIGHTS[column], BATCH: self.batches[multiple]}

    def place(self, values: Mapping[str, Value]) -> tuple[int, int]:
        """Return the level and the cell that are nearest to a configuration."""
        level = round(self.level_of(float(values[RATE])))
        weight = float(values.get(WEIGHT, 0.0))
        column = _nearest(weight) if self.weights else self.column
        batch = int(values.get(BATCH, self.batches[0]))
        distances = [abs(math.log2(max(1, batch) / size)) for size in self.batches]
        multiple = distances.index(min(distances))
        return min(max(level, 0), self.levels - 1), column * len(BATCH_MULTIPLES) + multiple


def _legal(space: SearchSpace, name: str, wanted: tuple[float, ...]) -> tuple[Value, ...]:
    """Return those of the wanted values that a parameter can have; none where there is none."""
    if name not in space:
        return ()
    parameter = space[name]
    snapped = [(value, parameter.snap(value)) for value in wanted]
    return tuple(v for v, s in snapped if math.isclose(float(v), float(s), rel_tol=1e-6))


def _smallest_batch(space: SearchSpace, held: Mapping[str, Value]) -> int:
    """Return sequences; 1 for a batch of the whole set, which has no multiples."""
    smallest = space[BATCH].from_unit(0.0) if BATCH in space else held.get(BATCH, 1)
    return max(1, int(smallest))


def _nearest(weight: float) -> int:
    """Return the index of the grid's divergence weight that is nearest, on a log scale from .1."""
    distances = [abs(math.log((weight + 0.1) / (w + 0.1))) for w in DIVERGENCE_WEIGHTS]
    return distances.index(min(distances))
