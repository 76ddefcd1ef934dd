"""Situations as value networks see them, drawn at random."""

import torch

from hpopt.policies.grid import CELLS
from hpopt.policies.sight import MOST_LEFT, Sight

LEVELS = 12


def draw(seed: int, count: int = 5, trials: int = 3) -> Sight:
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=random)

    gains = torch.full((count, LEVELS * CELLS), torch.nan)
    for row in gains:
        chosen = torch.randperm(LEVELS * CELLS, generator=random)[:trials]
        row[chosen] = uniform(trials) - 0.3
    ramps = torch.stack(
        [3 + uniform(count, LEVELS), uniform(count, LEVELS) - 0.2, 0.1 + uniform(count, LEVELS)], -1
    )
    return Sight(
        ramps=ramps,
        base_loss=3 + uniform(count),
        forgetting_weight=uniform(count),
        steps=64 + 200 * uniform(count),
        adapters=(uniform(count) < 0.5).float(),
        default=torch.full((count,), 6.0),
        gains=gains.view(count, LEVELS, CELLS),
        left=1.0 + torch.randint(MOST_LEFT, (count,), generator=random),
    )
