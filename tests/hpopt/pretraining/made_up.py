"""A table of tasks that are made up, so that what is best is known."""

import numpy as np
import torch

from hpopt.policies.grid import BATCH_MULTIPLES, DIVERGENCE_WEIGHTS
from hpopt.pretraining.tables import OCTAVES, RAMP_LEVELS, RAMP_STARTS, Table


def made_up(count: int = 40, seed: int = 0) -> Table:
    """Tasks whose best rate can be seen in a ramp: the loss is least there, and rises above."""
    random = np.random.default_rng(seed)
    best = random.integers(-4, 4, size=count)
    octaves = np.arange(OCTAVES[0], OCTAVES[-1] + 1)
    distance = octaves[None, :] - best[:, None]
    curve = np.where(distance > 0, distance * 0.5, -distance * 0.15)
    shape = (count, len(OCTAVES), len(DIVERGENCE_WEIGHTS), len(BATCH_MULTIPLES))
    loss = np.broadcast_to(2.0 + curve[..., None, None], shape).astype(np.float32)
    levels = octaves[0] + np.arange(len(RAMP_STARTS))[:, None] + np.arange(RAMP_LEVELS)
    away = levels[None] - best[:, None, None]
    ramp = np.where(away > 0, 3.0 + 0.5 * away, 3.0 - 0.02 * (8 + away)).astype(np.float32)
    ramps = np.stack([ramp, 0 * ramp, 1 + 0 * ramp], -1)
    one = torch.ones(count)
    return Table(
        loss=torch.from_numpy(loss.copy()),
        forgetting=torch.zeros(shape),
        base_loss=3 * one,
        probe_loss=3 * torch.ones(count, len(RAMP_STARTS)),
        ramps=torch.from_numpy(ramps),
        forgetting_weight=0.5 * one,
        steps=128 * one,
        adapters=0 * one,
    )
