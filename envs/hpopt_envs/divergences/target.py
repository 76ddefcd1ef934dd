"""Alignment as the minimisation of an f-divergence from a target distribution.

The target is p*(x) ∝ a(x) e^s(x), where a is the base model and s the score of a response x:

    rlhf   s = r/β       reward r, temperature β
    gdc    s = λ·φ       features φ, with λ such that the moments E_p*[φ] are what is asked for

With t = π/p* and D_f = E_p*[f(t)], f as in `hpopt_envs.divergences.f_divergence`, the gradient is
(Go et al. 2023, "Aligning Language Models with Preferences through f-divergence Minimization",
arXiv 2302.08215)

    ∇D_f(π, p*) = E_π[f′(t) ∇ log π]

Of the reverse KL divergence, KL(π ‖ p*), that is the gradient of the reward r − β log(π/a), over
−β: RLHF with a KL penalty. Of the forward one, KL(p* ‖ π), it is that of distributional policy
gradients (GDC).

The partition function Z of a e^s is estimated by importance sampling, as the mean of a e^s/π over
a prompt's samples. At π = p* all of these are equal: the estimate is exact there, the gradient 0.
A baseline, the mean f′ of a prompt's other samples, takes variance away and no bias in.

A score may be −∞, where a constraint is to hold of every response: p* is 0 there.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_LOG_2 = math.log(2)
HARDEST = 50.0  # nats: what log t is taken to be where p* is 0
LARGEST = 60.0  # nats: beyond it, t is no larger


def log_ratios(log_policy: Tensor, log_reference: Tensor, score: Tensor, group: Tensor) -> Tensor:
    """Return log t = log(π/p*) of samples of π, with Z estimated from each group's.

    Args:
        log_policy: log π of the samples, shape (n,).
        log_reference: log a, shape (n,).
        score: s, shape (n,), perhaps −∞.
        group: which samples have a prompt in common, shape (n,), integers.

    Returns:
        Shape (n,); `HARDEST` where p* is 0, but 0 in a group where it always is: nothing is known
        there.
    """
    log_weight = log_reference + score - log_policy
    log_partition = group_log_mean_exp(log_weight, group)
    log_t = torch.where(log_weight == -torch.inf, HARDEST, log_partition - log_weight)
    return torch.where(log_partition == -torch.inf, 0.0, log_t)


def group_log_mean_exp(values: Tensor, group: Tensor) -> Tensor:
    """Return the log of the mean of e^value over each one's group, shape (n,)."""
    _, index, size = torch.unique(group, return_inverse=True, return_counts=True)
    top = values.new_full((len(size),), -torch.inf)
    top = top.scatter_reduce(0, index, values, "amax").nan_to_num(neginf=0.0)
    total = torch.zeros_like(top).scatter_add(0, index, (values - top[index]).exp())
    mean: Tensor = (total / size).log() + top
    return mean[index]


def pseudo_rewards(log_t: Tensor, group: Tensor, name: str, alpha: float = 0.5) -> Tensor:
    """Return f′(t) less its baseline: ∇D_f is the mean of this times ∇ log π.

    Args:
        log_t: of the samples, shape (n,).
        group: as in `log_ratios`.
        name: of the divergence, one of `hpopt_envs.divergences.f_divergence.DIVERGENCES`.
        alpha: of the α-divergence.

    Returns:
        Shape (n,); 0 in a group of one.
    """
    slopes = slope(name, log_t, alpha)
    _, index, size = torch.unique(group, return_inverse=True, return_counts=True)
    mean = torch.zeros_like(slopes[: len(size)]).scatter_add(0, index, slopes) / size
    others = size / (size - 1).clamp(min=1)  # f′ − mean of the others = n/(n − 1)·(f′ − mean)
    weights: Tensor = (slopes - mean[index]) * others[index]
    return weights


def slope(name: str, log_t: Tensor, alpha: float = 0.5) -> Tensor:
    """Return f′(t), up to the constant that makes f′(1) = 0, shape (n,)."""
    if name == "alpha":
        return _power(log_t, alpha - 1)
    return _SLOPES[name](log_t)


def _power(log_t: Tensor, exponent: float) -> Tensor:
    """Return (t^exponent − 1)/exponent, the slope of an α-divergence of order exponent + 1."""
    if exponent == 0:
        return log_t
    return (exponent * log_t).clamp(max=LARGEST).expm1() / exponent


_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "forward_kl": lambda log_t: _power(log_t, -1.0),
    "reverse_kl": lambda log_t: _power(log_t, 0.0),
    "jensen_shannon": lambda log_t: 0.5 * (torch.nn.functional.logsigmoid(log_t) + _LOG_2),
    "total_variation": lambda log_t: 0.5 * log_t.sign(),
    "chi_squared": lambda log_t: 2 * _power(log_t, 1.0),
    "squared_hellinger": lambda log_t: 0.5 * _power(log_t, -0.5),
}


def effective_sample_share(log_weight: Tensor, group: Tensor) -> Tensor:
    """Return (Σw)²/Σw² over the group's size, of importance weights w, in (0, 1]; shape (n,).

    1 where all weights of a group are equal, as they are at the target; 0 where all are 0.
    """
    log_share = 2 * group_log_mean_exp(log_weight, group) - group_log_mean_exp(
        2 * log_weight, group
    )
    return log_share.exp().nan_to_num(nan=0.0)
