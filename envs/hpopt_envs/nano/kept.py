"""The best point of each of K runs, that it may go back to."""

import torch

from .optimizers import Moments
from .world import Lanes, World


class Kept:
    """Copies of what runs were at some point of each, at first where they begin.

    Args:
        lanes: all runs, as they begin.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._theta, self._trained = lanes.theta.clone(), torch.tensor(lanes.trained)
        moments = lanes.moments
        self._moments = Moments(
            moments.first.clone(), moments.second.clone(), moments.steps.clone()
        )

    def keep(self, lanes: Lanes, rows: torch.Tensor) -> None:
        """Copy some runs as they are.

        Args:
            lanes: all runs.
            rows: which, booleans of shape (K,).
        """
        self._theta[rows] = lanes.theta[rows]
        self._trained[rows] = torch.tensor(lanes.trained)[rows]
        for own, now in self._pairs(lanes):
            own[rows] = now[rows]

    def go_back(self, world: World, lanes: Lanes, rows: torch.Tensor) -> None:
        """Put some runs back to where they were kept."""
        if not bool(rows.any()):
            return
        lanes.theta[rows] = self._theta[rows]
        lanes.trained = torch.where(rows, self._trained, torch.tensor(lanes.trained)).tolist()
        for own, now in self._pairs(lanes):
            now[rows] = own[rows]
        lanes.weights = world.part.weights(lanes.theta)

    def _pairs(self, lanes: Lanes) -> list[tuple[torch.Tensor, torch.Tensor]]:
        own, now = self._moments, lanes.moments
        return [(own.first, now.first), (own.second, now.second), (own.steps, now.steps)]
