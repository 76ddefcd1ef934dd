"""Where a trial stands in its training run, and the best point of it that it may go back to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..records import Outcome
from ..training_run import Probe, Progress, TrainingRun

Tensors = dict[str, torch.Tensor]
KEPT = "kept."  # before the names of the best point's tensors in a snapshot


@dataclass(frozen=True)
class _Kept:
    """The best point: what it is judged by, its segment, its run state's snapshot."""

    loss: float
    segment: int
    tensors: Tensors
    meta: dict[str, Any]


class Position:
    """Where a trial stands.

    Args:
        run: the training run.
        seed: the trial's.

    Attributes:
        state: the trial's, of the training run.
        segment: id of the segment whose end it is; None at the base weights.
    """

    def __init__(self, run: TrainingRun, seed: int) -> None:
        self._run = run
        self._seed = seed
        self._kept: _Kept | None = None
        self.state: Any = run.start(seed)
        self.segment: int | None = None

    def probe(self, progress: Progress, ends: bool) -> tuple[Progress, Probe | None]:
        """Measure the probe batch after a segment.

        What exploded isn't measured: its loss is infinite, and it may be rolled back, unless the
        segment `ends` its trial.

        Returns:
            The progress with the probe's cost, and what it showed; None where the trial failed.
        """
        exploded = Probe(math.inf, 0.0)
        if progress.outcome is Outcome.EXPLODED:
            return (progress if ends else replace(progress, outcome=None, reason="")), exploded
        if progress.outcome is not None:
            return progress, None
        probe = Probe(*self._run.probe(self.state))
        finite = math.isfinite(probe.loss) and math.isfinite(probe.forgetting or 0.0)
        return replace(progress, cost=progress.cost + probe.cost), probe if finite else exploded

    def reached(self, segment: int, loss: float | None) -> None:
        """Take note of a segment's end, and keep it where it is the best one yet.

        Args:
            segment: its id.
            loss: what points are judged by, less is better; None for one that isn't to be kept.
        """
        self.segment = segment
        best = math.inf if self._kept is None else self._kept.loss
        if loss is not None and loss < best:
            self._kept = _Kept(loss, segment, *self._run.snapshot(self.state))

    def roll_back(self) -> None:
        """Go back to the best point that was kept, else to the base weights."""
        kept = self._kept
        self.segment = None if kept is None else kept.segment
        if kept is None:
            self.state = self._run.start(self._seed)
        else:
            self.state = self._run.restore(kept.tensors, kept.meta)

    def snapshot(self) -> tuple[Tensors, dict[str, Any]]:
        """Return copies of everything: tensors, and what JSON can carry."""
        tensors, state = self._run.snapshot(self.state)
        meta: dict[str, Any] = {"state": state, "segment": self.segment, "kept": None}
        if self._kept is not None:
            meta["kept"] = {key: getattr(self._kept, key) for key in ("loss", "segment", "meta")}
            if self._kept.segment != self.segment:  # else the tensors are the same
                tensors |= {KEPT + name: tensor for name, tensor in self._kept.tensors.items()}
        return tensors, meta

    @classmethod
    def restore(
        cls, run: TrainingRun, seed: int, tensors: Tensors, meta: Mapping[str, Any]
    ) -> "Position":
        """Return the position that `snapshot` was taken of."""
        position = cls(run, seed)
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(KEPT)}
        position.state, position.segment = run.restore(own, meta["state"]), meta["segment"]
        if meta["kept"] is not None:
            kept = {n.removeprefix(KEPT): t for n, t in tensors.items() if n.startswith(KEPT)}
            position._kept = _Kept(tensors=kept or own, **meta["kept"])
        return position
