"""What training and evaluations of K runs come to."""

from dataclasses import dataclass

import torch

from .orders import Orders


@dataclass(frozen=True)
class Stretch:
    """What training came to, arrays of shape (K,).

    Attributes:
        loss: mean of the task's, penalty not included; nats.
        penalty: mean divergence on the retained text of all runs, whatever they weigh it with; 0
            where none does.
        penalised: share of the steps with a weight above 0.
        norm, norm_std: mean and standard deviation of gradient norms before clipping; not finite
            where one wasn't.
        clipped: share of steps.
        steps: of the optimizer.
    """

    loss: torch.Tensor
    penalty: torch.Tensor
    penalised: torch.Tensor
    norm: torch.Tensor
    norm_std: torch.Tensor
    clipped: torch.Tensor
    steps: torch.Tensor

    def exploded(self, limits: torch.Tensor) -> torch.Tensor:
        """Return which runs exploded, given the largest losses that aren't explosions."""
        return ~((self.loss <= limits) & self.norm.isfinite())

    @classmethod
    def of(
        cls,
        orders: Orders,
        losses: list[torch.Tensor],
        penalties: list[torch.Tensor],
        norms: list[torch.Tensor],
    ) -> "Stretch":
        """Sum up micro-batches, of each of which a list has an array of shape (K,)."""
        due, norm = orders.due, torch.stack(norms)
        steps = due.sum(0)

        def mean(values: torch.Tensor) -> torch.Tensor:
            return torch.where(due, values, 0.0).sum(0) / steps

        average = mean(norm)
        return cls(
            loss=torch.stack(losses).mean(0),
            penalty=torch.stack(penalties).mean(0),
            penalised=mean((orders.penalties > 0).float()),
            norm=average,
            norm_std=mean((norm - average) ** 2).sqrt(),
            clipped=mean((norm > orders.limits).float()),
            steps=steps,
        )


@dataclass(frozen=True)
class Losses:
    """What was measured of some runs, arrays of shape (n,), in nats a prediction.

    Attributes:
        target: loss on the target.
        accuracy: share of its labels that are the likeliest, in [0, 1].
        forgetting: loss on retained text, less the base model's there.
        divergence: from the base model, KL(base ‖ model) on retained text.
    """

    target: torch.Tensor
    accuracy: torch.Tensor
    forgetting: torch.Tensor
    divergence: torch.Tensor


def cross_entropy(logs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of each model, shape (K,).

    Args:
        logs: log-probabilities, shape (K, n, t, vocabulary).
        labels: shape (K, n, t).
    """
    loss: torch.Tensor = -logs.gather(-1, labels[..., None]).mean((1, 2, 3))
    return loss
