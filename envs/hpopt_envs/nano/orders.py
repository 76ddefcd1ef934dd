"""What K runs are to do in a segment: their hyperparameters as arrays over micro-batches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hpopt_search_spaces import Value

from ..schedules import divergence_weight_at, learning_rate_at
from ..training.optimizers import ADAMW_WEIGHT_DECAY, MAX_GRADIENT_NORM


@dataclass(frozen=True)
class Orders:
    """Hyperparameters of one segment; S micro-batches of `micro` examples for each of K runs.

    Attributes:
        micro: examples; the largest number that divides all batch sizes.
        rates: learning rates of the optimizer step that a micro-batch is part of, shape (S, K).
        penalties: divergence weights likewise, shape (S, K).
        shares: of a batch that a micro-batch is, shape (K,).
        due: whether a micro-batch ends a batch, shape (S, K).
        limits: of gradient norms, shape (K,).
        optimizers: their names.
        decays: weight decays, shape (K,).
    """

    micro: int
    rates: torch.Tensor
    penalties: torch.Tensor
    shares: torch.Tensor
    due: torch.Tensor
    limits: torch.Tensor
    optimizers: list[str]
    decays: torch.Tensor

    @classmethod
    def of(
        cls,
        asked: Sequence[Mapping[str, Value]],
        trained: Sequence[int],
        examples: int,
        example_tokens: int,
        horizon: int,
    ) -> "Orders":
        """Return those of a segment.

        Args:
            asked: hyperparameters of each run.
            trained: tokens that each was trained on before.
            examples: of the segment, a multiple of every batch size.
            example_tokens: task tokens an example.
            horizon: tokens of a trial, over which schedules go.
        """
        batches = [int(one["batch_size"]) for one in asked]
        micro = math.gcd(*batches)
        rates, penalties = [], []
        for one, batch, before in zip(asked, batches, trained, strict=True):
            at = [(before + i * example_tokens) / horizon for i in range(0, examples, batch)]
            repeats = batch // micro
            rates.append([r for p in at for r in [learning_rate_at(p, one)] * repeats])
            penalties.append([w for p in at for w in [divergence_weight_at(p, one)] * repeats])
        number = torch.arange(1, examples // micro + 1)[:, None]
        sizes = torch.tensor(batches)
        return cls(
            micro,
            torch.tensor(rates).T.contiguous(),
            torch.tensor(penalties).T.contiguous(),
            micro / sizes,
            (number * micro) % sizes == 0,
            torch.tensor([float(a.get("max_gradient_norm", MAX_GRADIENT_NORM)) for a in asked]),
            [str(one.get("optimizer", "adamw")) for one in asked],
            torch.tensor([_decay(one) for one in asked]),
        )


def _decay(asked: Mapping[str, Value]) -> float:
    own = ADAMW_WEIGHT_DECAY if asked.get("optimizer", "adamw") == "adamw" else 0.0
    return float(asked.get("weight_decay", own))
