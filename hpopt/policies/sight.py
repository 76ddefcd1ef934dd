"""What a value network is given: arrays over n tasks and L learning rates, an octave apart.

The same function makes them of tables in training and of a study in use, so neither can drift.
All losses are shares of the base model's, and nothing depends on a model's size.
"""

from dataclasses import dataclass

import torch

from .grid import CELLS, RISE

SIGHT_VERSION = 2  # of all that is in here
RAMP_CHANNELS = ("loss", "forgetting", "gradient_norm")  # after each level of a ramp
CHANNELS = 13 + 3 * CELLS  # of the network's input
MOST_LEFT = 5  # trials that policies propose in a study
CLIP = 1.0  # of changes of losses, in shares of the base model's


@dataclass(frozen=True)
class Sight:
    """What is known of n tasks.

    Attributes:
        ramps: `RAMP_CHANNELS`, in nats, shape (n, L, 3): the loss and the rise of retained loss on
            the probe batch, and the gradient norm; infinite where training exploded, NaN where
            nothing was seen.
        base_loss: of the base model, nats, shape (n,): what losses are shares of.
        forgetting_weight: of the objective, shape (n,).
        steps: of the smallest batch in a trial, shape (n,).
        adapters: 1.0 where these are trained, shape (n,).
        default: level of the default learning rate, which needn't be whole, shape (n,).
        gains: of the trials so far, (base objective − objective)/base loss, shape (n, L, cells);
            NaN for what wasn't tried.
        left: trials that are still to be proposed, the next one included, shape (n,).
    """

    ramps: torch.Tensor
    base_loss: torch.Tensor
    forgetting_weight: torch.Tensor
    steps: torch.Tensor
    adapters: torch.Tensor
    default: torch.Tensor
    gains: torch.Tensor
    left: torch.Tensor

    def inputs(self) -> torch.Tensor:
        """Return the network's input, shape (n, CHANNELS, L)."""
        return torch.cat([self._ramp(), self._facts(), self._history()], 1)

    def _ramp(self) -> torch.Tensor:
        """Return 7 channels; zeros where nothing was seen."""
        scale, weight = self.base_loss[:, None], self.forgetting_weight[:, None]
        loss, forgetting = self.ramps[..., 0], self.ramps[..., 1] / scale
        seen, first = ~loss.isnan(), loss[:, :1]
        # The lowest rate changes next to nothing, and stands for the base model there.
        rise = (loss - torch.where(first.isfinite(), first, scale)) / scale
        rise, forgetting = (one.nan_to_num(0.0, CLIP, -CLIP) for one in (rise, forgetting))
        objective = (rise + weight * forgetting).clamp(-CLIP, CLIP)
        best = torch.where(seen, objective, CLIP).cummin(1).values
        norm = self.ramps[..., 2].clamp(min=1e-8).log2()
        norm = ((norm - norm[:, :1]) / 4).nan_to_num(0.0, 2.0, -2.0).clamp(-2.0, 2.0)
        before = torch.cat([objective[:, :1], objective[:, :-1]], 1)
        channels = (
            *(rise.clamp(-CLIP, CLIP), forgetting.clamp(-CLIP, CLIP), objective),
            *(4 * (objective - before), 4 * (objective - best), norm),
            torch.ones_like(rise),
        )
        return torch.stack([torch.where(seen, one, 0.0) for one in channels], 1)

    def _facts(self) -> torch.Tensor:
        """Return 6 channels, five of them the same at every learning rate."""
        levels = self.gains.shape[1]
        tried = (~self.gains.isnan()).flatten(1).any(1).float()
        steps, left = self.steps.log2() / 8 - 1, self.left / MOST_LEFT
        same = torch.stack([self.forgetting_weight, steps, self.adapters, tried, left], 1)
        place = (torch.arange(levels) - self.default[:, None]) / 6
        return torch.cat([same[:, :, None].expand(-1, -1, levels), place[:, None]], 1)

    def _history(self) -> torch.Tensor:
        """Return 3 channels for each cell: whether it was tried, its gain, what it lacks."""
        tried = ~self.gains.isnan()
        gains = self.gains.nan_to_num(0.0, CLIP, -CLIP).clamp(-CLIP, CLIP)
        best = torch.where(tried, gains, -CLIP).flatten(1).max(1).values[:, None, None]
        lacking = torch.where(tried, (best - gains).clamp(0.0, CLIP), 0.0)
        channels = (tried.float(), torch.where(tried, gains, 0.0), 4 * lacking)
        return torch.cat(channels, 2).transpose(1, 2)


def cut_ramps(ramps: torch.Tensor, base_loss: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return ramps as they are seen where they end with the first rise: NaN beyond it.

    Args:
        ramps: see `Sight`, as are the others.
        base_loss: of the base model.
        weight: of forgetting.
    """
    objective = ramps[..., 0] + weight[:, None] * ramps[..., 1].nan_to_num(0.0)
    best = torch.cat([torch.full_like(objective[:, :1], torch.inf), objective[:, :-1]], 1)
    within = objective <= best.cummin(1).values + RISE * base_loss[:, None]
    rose = ~(within & (objective < torch.inf))
    over = torch.cat([torch.zeros_like(rose[:, :1]), rose[:, :-1]], 1).cumsum(1) > 0
    return torch.where(over[..., None], torch.nan, ramps)
