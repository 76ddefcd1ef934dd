"""Which part of K models is trained, and how its parameters make their weights."""

from typing import Protocol

import numpy as np
import torch

from .models import EMBEDDINGS, Architecture
from .sources import Random


class Part(Protocol):
    """What is trained of K models: parameters θ, shape (K, parameters)."""

    @property
    def trained(self) -> torch.Tensor:
        """Which parameters are trained, booleans of a shape that spreads to that of θ."""

    @property
    def counts(self) -> list[int]:
        """Trained parameters of each model."""

    def start(self, rows: list[int], random: list[Random]) -> torch.Tensor:
        """Return θ at the base weights, of some models; what is drawn is from their generators."""

    def weights(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the weights that θ makes, shape (K, weights)."""

    def pull(self, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of all θ from that of all weights."""


class Whole:
    """Weights themselves, some frozen, each a multiple of its parameter.

    A scale of 2 makes a step of the same learning rate twice as large: it stands for what models
    are parametrised by, which moves the best rate.

    Args:
        base: weights, shape (K, weights).
        trained: where they are trained, booleans of the same shape.
        scale: positive, of the same shape; 1 where they are frozen.
    """

    def __init__(self, base: torch.Tensor, trained: torch.Tensor, scale: torch.Tensor) -> None:
        self._base, self._scale = base, scale
        self._reach = trained * scale
        self.trained = trained

    @property
    def counts(self) -> list[int]:
        return [int(count) for count in self.trained.sum(1)]

    def start(self, rows: list[int], random: list[Random]) -> torch.Tensor:
        return self._base[rows] / self._scale[rows]

    def weights(self, theta: torch.Tensor) -> torch.Tensor:
        return theta * self._scale

    def pull(self, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * self._reach


class LowRank:
    """A product of two thin matrices beside each matrix that is no embedding, which starts at 0.

    Args:
        architecture: of the models.
        base: weights, shape (K, weights), which stay.
        rank: of the products.
        scale: what they are multiplied by, shape (K,).
    """

    def __init__(
        self, architecture: Architecture, base: torch.Tensor, rank: int, scale: torch.Tensor
    ) -> None:
        self._base, self._rank, self._scale = base, rank, scale.view(-1, 1, 1)
        self._blocks = [
            block
            for block in architecture.blocks.values()
            if len(block.shape) == 2 and block.part != EMBEDDINGS
        ]
        self.trained = torch.ones(1, 1, dtype=torch.bool)
        self._size = rank * sum(sum(block.shape) for block in self._blocks)

    @property
    def counts(self) -> list[int]:
        return [self._size] * len(self._base)

    def start(self, rows: list[int], random: list[Random]) -> torch.Tensor:
        theta = torch.zeros(len(rows), self._size)
        for row, own in zip(theta, random, strict=True):
            for left, _ in self._factors(row[None]):
                drawn = own.normal(size=left.shape) * (3 * left.shape[1]) ** -0.5  # as PEFT does
                left.copy_(torch.from_numpy(np.asarray(drawn, dtype=np.float32)))
        return theta

    def weights(self, theta: torch.Tensor) -> torch.Tensor:
        weights = self._base.clone()
        for block, (left, right) in zip(self._blocks, self._factors(theta), strict=True):
            flat = weights[:, block.begin : block.end]
            flat += (torch.bmm(left, right) * self._scale).flatten(1)
        return weights

    def pull(self, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        pulled = torch.empty_like(theta)
        factors, into = self._factors(theta), self._factors(pulled)
        for block, (left, right), (d_left, d_right) in zip(
            self._blocks, factors, into, strict=True
        ):
            whole = gradient[:, block.begin : block.end].view(-1, *block.shape) * self._scale
            d_left.copy_(torch.bmm(whole, right.transpose(1, 2)))
            d_right.copy_(torch.bmm(left.transpose(1, 2), whole))
        return pulled

    def _factors(self, theta: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return views of both factors of each block."""
        found, begin = [], 0
        for block in self._blocks:
            above, below = block.shape
            middle = begin + above * self._rank
            end = middle + self._rank * below
            left = theta[:, begin:middle].view(-1, above, self._rank)
            right = theta[:, middle:end].view(-1, self._rank, below)
            found.append((left, right))
            begin = end
        return found
