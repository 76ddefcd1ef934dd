"""Losses and gradients of K models at once."""

from dataclasses import dataclass

import torch

from .models import Architecture


@dataclass(frozen=True)
class Penalty:
    """The forward KL divergence from the base model on retained text.

    Attributes:
        windows: of retained text, shape (K, r, w).
        reference: the base model's probabilities at their last positions, (K, r, t, vocabulary).
        weights: β, shape (K,).
    """

    windows: torch.Tensor
    reference: torch.Tensor
    weights: torch.Tensor


def gradient(
    architecture: Architecture,
    weights: torch.Tensor,
    windows: torch.Tensor,
    labels: torch.Tensor,
    penalty: Penalty | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Differentiate the mean loss of each model, and its penalty.

    Args:
        architecture: of the models.
        weights: shape (K, parameters).
        windows: tokens, shape (K, n, w).
        labels: of the last t positions, shape (K, n, t).
        penalty: None for none.

    Returns:
        Mean loss in nats, shape (K,); mean divergence, shape (K,), 0 without a penalty; and the
        gradient of loss + β · divergence, of the weights' shape.
    """
    blocks = {n: b.detach().requires_grad_() for n, b in architecture.cut(weights).items()}
    n, t = labels.shape[1:]
    both = windows if penalty is None else torch.cat([windows, penalty.windows], dim=1)
    with torch.enable_grad():
        logits = architecture.logits(blocks, both)
    change = torch.zeros_like(logits)
    with torch.no_grad():
        loss = _task(logits[:, :n, -t:], labels, change[:, :n, -t:])
        diverged = torch.zeros_like(loss)
        if penalty is not None:
            kept = penalty.reference.shape[2]
            diverged = _penalty(logits[:, n:, -kept:], penalty, change[:, n:, -kept:])
        flat = torch.autograd.grad(logits, list(blocks.values()), change)
        return loss, diverged, torch.cat([block.flatten(1) for block in flat], dim=1)


def _task(logits: torch.Tensor, labels: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Write the derivative of the mean cross-entropy, and return that."""
    logs = logits.log_softmax(-1)
    index = labels[..., None]
    loss = -logs.gather(-1, index).mean((1, 2, 3))
    change.copy_(logs.exp_())
    change.scatter_add_(-1, index, torch.full_like(index, -1, dtype=change.dtype))
    change /= labels[0].numel()
    return loss


def _penalty(logits: torch.Tensor, penalty: Penalty, change: torch.Tensor) -> torch.Tensor:
    """Write the derivative of β times the mean divergence, and return the mean divergence."""
    logs = logits.log_softmax(-1)
    reference = penalty.reference
    diverged = divergence(reference, logs).mean((1, 2))
    positions = reference.shape[1] * reference.shape[2]
    torch.sub(logs.exp_(), reference, out=logs)
    change.copy_(logs.mul_((penalty.weights / positions)[:, None, None, None]))
    return diverged


def divergence(reference: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """Return KL(reference ‖ model) at each position, in nats.

    Args:
        reference: probabilities, shape (..., vocabulary).
        logs: the model's log-probabilities, of the same shape.
    """
    diverged: torch.Tensor = -(torch.special.entr(reference).sum(-1) + (reference * logs).sum(-1))
    return diverged
