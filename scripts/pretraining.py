"""The loop that both scripts train an embedded model with."""

import math
import time
from collections.abc import Callable

import torch

WARMUP_STEPS = 100
EVALUATION_STEPS = 200


def pretrain(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_loss: Callable[[int], torch.Tensor],
    validation_loss: Callable[[], float],
    steps: int,
) -> None:
    """Leaves the weights of the lowest validation loss in the model.

    Args:
        model: to be trained.
        optimizer: at its peak learning rate, which is reached after a warm-up and decays as a
            cosine to nearly zero.
        batch_loss: of an optimizer step, numbered from 1, nats per token.
        validation_loss: nats per token.
        steps: optimizer steps.
    """
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, steps))
    lowest, best, start = math.inf, model.state_dict(), time.perf_counter()
    for step in range(1, steps + 1):
        loss = batch_loss(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % EVALUATION_STEPS == 0 or step == steps:
            value = validation_loss()
            print(
                f"step {step:5}: training {loss.item():.3f}, validation {value:.3f} nats/token, "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
            if value < lowest:
                lowest, best = value, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(best)


def factor(step: int, steps: int) -> float:
    """Of the peak learning rate: warm-up, then cosine to nearly zero."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
