"""Targets with moment constraints: the λ with which E_p*[φ] is what is asked for.

p*(x) ∝ a(x) e^(λ·φ(x)) is the distribution nearest to a, in KL(p* ‖ a), of those with the moments
(Khalifa et al. 2021, "A Distributional Approach to Controlled Text Generation", arXiv 2012.11635).
λ minimises E_c[log E_a(·|c) e^(λ·φ)] − λ·φ̄ over prompts c, which is convex.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import WorldError

TOLERANCE = 0.02  # of a moment, in ranges of its feature

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """A target of moment constraints.

    Attributes:
        targets: φ̄, shape (k,).
        weights: λ, shape (k,); 0 where a constraint is pointwise.
        pointwise: which constraints are to hold of every response, shape (k,).
    """

    targets: Tensor
    weights: Tensor
    pointwise: Tensor

    def score(self, features: Tensor) -> Tensor:
        """Return s = λ·φ, −∞ where a pointwise constraint is broken.

        Args:
            features: φ of responses, shape (n, k).

        Returns:
            Shape (n,).
        """
        targets = self.targets.to(features)
        broken = ((features != targets) & self.pointwise.to(features.device)).any(1)
        return (features @ self.weights.to(features)).masked_fill(broken, -torch.inf)


def fit_moments(features: Tensor, targets: Sequence[float], names: Sequence[str]) -> Moments:
    """Return the target of moment constraints, as far as samples of the base model tell.

    A constraint whose target is the largest or smallest value of its feature is pointwise: the
    limit of λ → ±∞.

    Args:
        features: φ of base samples, shape (prompts, samples of each, k).
        targets: φ̄, one a feature.
        names: of the features, for errors.

    Raises:
        WorldError: a target is out of reach, or all together are.
    """
    phi: Array = features.double().cpu().numpy()
    goal = np.array(targets, dtype=np.float64)
    low, high = phi.min((0, 1)), phi.max((0, 1))
    for k, name in enumerate(names):
        if not low[k] <= goal[k] <= high[k]:
            raise WorldError(
                f"constraint: {name}={targets[k]:g} must be within reach, but the base model's "
                f"{phi[..., k].size} samples have values from {low[k]:g} to {high[k]:g}"
            )
    pointwise = (goal == low) | (goal == high)
    kept = (phi == goal)[..., pointwise].all(-1)  # (prompts, samples)
    prompts = kept.any(1)
    if not prompts.any():
        raise WorldError(
            f"constraint: {' and '.join(names)} must be within reach, but none of the base "
            f"model's {kept.size} samples keeps them together"
        )
    free = np.flatnonzero(~pointwise)
    weights = np.zeros(len(goal))
    weights[free] = _weights(phi[prompts][..., free], kept[prompts], goal[free])
    _check(phi[prompts][..., free], kept[prompts], weights[free], goal[free], names, free)
    return Moments(torch.tensor(goal), torch.tensor(weights), torch.tensor(pointwise))


def _weights(phi: Array, kept: NDArray[np.bool_], goal: Array) -> Array:
    """Return λ: phi (prompts, samples, k), of which some are kept (prompts, samples)."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]
    from scipy.special import logsumexp, softmax  # type: ignore[import-untyped]

    if not len(goal):
        return goal
    scale = phi.std((0, 1))  # which conditions the problem
    centred = (phi - goal) / scale

    def dual(weights: Array) -> tuple[float, Array]:
        scores = np.where(kept, centred @ weights, -np.inf)
        shares = softmax(scores, axis=1)
        value = logsumexp(scores, axis=1).mean()
        return float(value), (shares[..., None] * centred).sum(1).mean(0)

    found = minimize(
        dual, np.zeros(len(goal)), jac=True, method="L-BFGS-B", bounds=[(-50, 50)] * len(goal)
    )
    weights: Array = found.x / scale
    return weights


def _check(
    phi: Array,
    kept: NDArray[np.bool_],
    weights: Array,
    goal: Array,
    names: Sequence[str],
    free: NDArray[np.int64],
) -> None:
    """Make sure that the moments are met."""
    from scipy.special import softmax

    shares = softmax(np.where(kept, phi @ weights, -np.inf), axis=1)
    met = (shares[..., None] * phi).sum(1).mean(0)
    spread = np.ptp(phi, axis=(0, 1))
    for k, name in enumerate(free):
        if abs(met[k] - goal[k]) > TOLERANCE * spread[k]:
            raise WorldError(
                f"constraint: {names[name]}={goal[k]:g} must be within reach together with the "
                f"others, but the nearest that samples of the base model allow is {met[k]:.4g}"
            )
