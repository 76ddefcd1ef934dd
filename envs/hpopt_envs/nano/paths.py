"""What n trials have gone through, as arrays: what `hpopt_envs.episode.traces` makes of one."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hpopt_search_spaces import Value

from ..episode import features
from ..episode.features import Array
from ..messages import StudyFacts
from .facts import Study
from .measures import Stretch

MEASURED = (
    *("train_loss", "validation_loss", "improvement", "divergence"),
    *("gradient_norm", "gradient_norm_std", "clip_fraction", "noise_scale"),
)


class Paths:
    """The trials under way, one for each task.

    Args:
        studies: of the tasks; their trials have as many segments.

    Attributes:
        length: segments of each path so far, shape (n,).
        segments: those that were gone back on included, shape (n,).
        returned: sum of rewards, shape (n,).
    """

    def __init__(self, studies: Sequence[Study]) -> None:
        n, segments = len(studies), studies[0].facts.segments
        self._facts = [study.facts for study in studies]
        self._columns = {name: np.full((n, segments), np.nan) for name in MEASURED}
        self._ratios = np.full((n, segments + 1, len(features.CANONICAL)), np.nan)
        self._defaults = _canonical([study.space.defaults() for study in studies])
        self._weight_is_zero = np.zeros(n)
        self.length: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self.segments: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self.returned = np.zeros(n)

    def begin(self, rows: Sequence[int], points: Sequence[Mapping[str, Value]]) -> None:
        """Start trials of some tasks from given hyperparameters."""
        for column in self._columns.values():
            column[rows] = np.nan
        self._ratios[rows] = np.nan
        for of_trial in (self.length, self.segments, self.returned):
            of_trial[rows] = 0
        self._note(rows, points)

    def extend(
        self,
        points: Sequence[Mapping[str, Value]],
        came: Stretch,
        measured: Mapping[str, Array],
    ) -> None:
        """Add a segment to every trial.

        Args:
            points: what it was trained with.
            came: of training.
            measured: some of `MEASURED` by name, shape (n,), NaN where nothing was.
        """
        here = np.arange(len(self.length)), self.length
        told = {
            "train_loss": came.loss,
            "gradient_norm": came.norm,
            "gradient_norm_std": came.norm_std,
            "clip_fraction": came.clipped,
        }
        for name, values in told.items():
            self._columns[name][here] = values.double().numpy()
        for name, array in measured.items():
            self._columns[name][here] = array
        self.length, self.segments = self.length + 1, self.segments + 1
        self._note(range(len(points)), points)

    def observe(self) -> NDArray[np.float32]:
        """Return the observations, shape (n, features)."""
        facts, none = self._facts, StudyFacts()
        study = [none.budget_left, none.best_improvement, none.rank]
        constants = [
            [np.log10(one.trainable_parameters), np.log10(one.trial_tokens), float(one.lora)]
            for one in facts
        ]
        traces = features.Traces(
            length=self.length,
            **self._columns,
            ratios=self._ratios,
            weight_is_zero=self._weight_is_zero,
            progress=self.segments / facts[0].segments,
            base_loss=np.array([one.base_loss for one in facts]),
            constants=np.array(constants),
            study=np.tile(study, (len(facts), 1)),
        )
        return features.observe(traces)

    def _note(self, rows: Sequence[int], points: Sequence[Mapping[str, Value]]) -> None:
        """Take note of hyperparameters at the end of some paths."""
        index = np.array(rows, dtype=np.int64)
        values, defaults = _canonical(points), self._defaults[index]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.log2(values / defaults)
        missing = np.isnan(values) | np.isnan(defaults)
        positive = (values > 0) & (defaults > 0)
        filled = np.where(missing, np.nan, np.where(positive, ratios, 0.0))
        self._ratios[index, self.length[index]] = filled
        self._weight_is_zero[index] = [point.get("divergence_weight") == 0.0 for point in points]


def _canonical(points: Sequence[Mapping[str, Value]]) -> Array:
    """Return the values of `features.CANONICAL`, shape (n, 3), NaN where one is missing."""
    return np.array(
        [[float(point.get(name, np.nan)) for name in features.CANONICAL] for point in points]
    )
