"""What an environment knows of its trial, and how that is saved and taken up again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpopt_search_spaces import Value

from ..messages import segment_from_json, to_json
from ..records import Trial
from ..training_run import TrainingRun
from .position import Position, Tensors

Unit = tuple[float, ...]  # a point of the unit cube


@dataclass
class EpisodeState:
    """A trial under way.

    Attributes:
        trial: as it stands.
        position: where it is in the training run.
        initial: where its hyperparameters began.
        unit: where they are.
        fixed: hyperparameters that the space lacks.
        tests: whether its end is judged on the test split too, and nothing before it.
        returned: the sum of its rewards: its improvement over the base model when it was last
            measured, floored.
    """

    trial: Trial
    position: Position
    initial: Unit
    unit: Unit
    fixed: dict[str, Value]
    tests: bool
    returned: float = 0.0

    def snapshot(self) -> tuple[Tensors, dict[str, Any]]:
        """Return copies of everything: tensors, and what JSON can carry."""
        tensors, position = self.position.snapshot()
        return tensors, {
            **position,
            "trial": self.trial.id,
            "seed": self.trial.seed,
            "segments": [to_json(segment) for segment in self.trial.segments],
            "initial": self.initial,
            "unit": self.unit,
            "fixed": self.fixed,
            "tests": self.tests,
            "returned": self.returned,
        }

    @classmethod
    def restore(cls, run: TrainingRun, tensors: Tensors, meta: Mapping[str, Any]) -> "EpisodeState":
        """Take up a trial that `snapshot` was taken of, and that hasn't ended."""
        return cls(
            trial=trial_in(meta),
            position=Position.restore(run, meta["seed"], tensors, meta),
            initial=tuple(meta["initial"]),
            unit=tuple(meta["unit"]),
            fixed=meta["fixed"],
            tests=meta["tests"],
            returned=meta["returned"],
        )


def trial_in(meta: Mapping[str, Any]) -> Trial:
    """Return the trial of a snapshot's metadata."""
    segments = tuple(segment_from_json(segment) for segment in meta["segments"])
    return Trial(meta["trial"], meta["seed"], segments)
