"""Values of configurations: which regret each one of a grid is expected to have.

A convolution along the logarithm of the learning rate, so that what was learned at one rate holds
at all; several such networks, which say by their spread how sure they are.
"""

import torch
from torch import nn
from torch.nn import functional

from .grid import CELLS
from .sight import CHANNELS, Sight

WIDTH = 64
LAYERS = 4
KERNEL = 5  # learning rates


class ValueNetwork(nn.Module):
    """From what was seen to the regret of each configuration, 0 for the best and 1 for the base."""

    def __init__(self) -> None:
        super().__init__()

        def along(channels: int) -> nn.Conv1d:
            return nn.Conv1d(channels, WIDTH, KERNEL, padding=KERNEL // 2)

        self.first = along(CHANNELS)
        self.layers = nn.ModuleList(along(WIDTH) for _ in range(LAYERS - 1))
        self.everywhere = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS - 1))
        self.last = nn.Conv1d(WIDTH, CELLS, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return regrets, shape (n, L, CELLS), of inputs of shape (n, CHANNELS, L)."""
        hidden = functional.silu(self.first(inputs))
        for layer, everywhere in zip(self.layers, self.everywhere, strict=True):
            mean = everywhere(hidden.mean(2))[:, :, None]
            hidden = hidden + functional.silu(layer(hidden) + mean)
        regrets: torch.Tensor = self.last(hidden).transpose(1, 2)
        return regrets


class Values(nn.Module):
    """An ensemble of value networks."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(ValueNetwork() for _ in range(size))

    @torch.no_grad()
    def predict(self, sight: Sight) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation over the ensemble, shape (n, L, CELLS) each."""
        inputs = sight.inputs()
        regrets = torch.stack([network(inputs) for network in self.networks])
        return regrets.mean(0), regrets.std(0, correction=0)


def refined(values: torch.Tensor) -> tuple[int, float]:
    """Return the lowest of values along the learning rate, and where between levels it lies.

    Args:
        values: of consecutive levels, shape (L,); infinite for what isn't to be taken.

    Returns:
        The level, and the offset to the lowest point of the parabola through it and its
        neighbours, in [−½, ½] levels; 0 at an end.
    """
    level = int(values.argmin())
    if not 0 < level < len(values) - 1:
        return level, 0.0
    below, here, above = (float(values[level + k]) for k in (-1, 0, 1))
    bend = below - 2 * here + above
    if not 0 < bend < torch.inf:
        return level, 0.0
    return level, max(-0.5, min(0.5, (below - above) / (2 * bend)))
