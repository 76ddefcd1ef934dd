"""Every divergence, brute force to compare it with, and tolerances.

Tolerances: float64 to a relative 1e-9; float32 to a relative 1e-4 and 1e-6 nats; bf16 logits as
float32 does on the same rounded logits, their gradient to bf16's own rounding, 2^-8.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from hpopt_envs.divergences.f_divergence import DIVERGENCES, divergence

# Beside the named divergences, α-divergences on both sides of each limit and of ½.
CASES = [(name, 0.5) for name in DIVERGENCES[:-1]] + [
    ("alpha", alpha) for alpha in (-1.5, 0.0, 0.2, 0.5, 0.8, 1.0, 1.3, 3.0)
]
each_divergence = pytest.mark.parametrize(("name", "alpha"), CASES)
each_name = pytest.mark.parametrize("name", DIVERGENCES)

TOLERANCE = {  # relative, absolute
    torch.float64: (1e-9, 1e-12),
    torch.float32: (1e-4, 1e-6),
    torch.bfloat16: (1e-4, 1e-6),
}
GRADIENT_TOLERANCE = TOLERANCE | {torch.bfloat16: (2**-8, 1e-6)}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
each_training_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])

GENERATORS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "forward_kl": lambda t, a: -np.log(t),
    "reverse_kl": lambda t, a: t * np.log(t),
    "jensen_shannon": lambda t, a: (t * np.log(t) - (t + 1) * np.log((t + 1) / 2)) / 2,
    "total_variation": lambda t, a: np.abs(t - 1) / 2,
    "chi_squared": lambda t, a: (t - 1) ** 2,
    "squared_hellinger": lambda t, a: (np.sqrt(t) - 1) ** 2,
    "alpha": lambda t, a: (t**a - 1 - a * (t - 1)) / (a * (a - 1)),
}


def brute_force(
    name: str, reference: torch.Tensor, policy: torch.Tensor, alpha: float
) -> torch.Tensor:
    """E_reference[f(t)], in float64 and from the definition."""
    if name == "alpha" and alpha in (0.0, 1.0):
        name = "forward_kl" if alpha == 0.0 else "reverse_kl"
    log_q, log_p = (log_softmax(x.double().numpy(), axis=-1) for x in (reference, policy))
    values = np.exp(log_q) * GENERATORS[name](np.exp(log_p - log_q), alpha)
    return torch.from_numpy(values.sum(-1))


def random_logits(
    *shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.5
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    reference, policy = torch.randn(2, *shape, generator=generator, dtype=torch.float64) * scale
    return reference.to(dtype), policy.to(dtype)


def value_and_gradient(
    name: str, reference: torch.Tensor, policy: torch.Tensor, alpha: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    policy = policy.detach().requires_grad_()
    value = divergence(name, reference, policy, alpha)
    (gradient,) = torch.autograd.grad(value.sum(), policy)
    return value.detach(), gradient
