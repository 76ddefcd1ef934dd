"""Optimizers of K models at once, each with a kind, a rate and a decay of its own.

They are PyTorch's at its defaults; `tests/envs/nano/test_optimizers.py` compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Kind:
    """An optimizer as numbers: m ← keep · m + take · g, v ← keep_square · v + take_square · g².

    The step is m/(√v + epsilon), or m where it isn't `adaptive`. `corrected`: m and v are divided
    by what they would be for a constant gradient of 1. `ahead`: the step is g + keep · m.
    `decoupled`: weight decay shrinks the weights instead of being added to the gradient.
    """

    keep: float = 0.0
    take: float = 1.0
    keep_square: float = 1.0
    take_square: float = 1.0
    adaptive: bool = False
    corrected: bool = False
    ahead: bool = False
    decoupled: bool = False
    epsilon: float = 1e-8


_ADAM = Kind(0.9, 0.1, 0.999, 0.001, adaptive=True, corrected=True)
KINDS = {
    "sgd": Kind(),
    "momentum": Kind(keep=0.9),
    "nesterov": Kind(keep=0.9, ahead=True),
    "adagrad": Kind(adaptive=True, epsilon=1e-10),
    "rmsprop": Kind(keep_square=0.99, take_square=0.01, adaptive=True),
    "adam": _ADAM,
    "adamw": Kind(0.9, 0.1, 0.999, 0.001, adaptive=True, corrected=True, decoupled=True),
}


@dataclass
class Moments:
    """What optimizers remember: m and v, shape (K, parameters), and steps taken, shape (K,)."""

    first: torch.Tensor
    second: torch.Tensor
    steps: torch.Tensor

    @classmethod
    def zero(cls, like: torch.Tensor) -> "Moments":
        return cls(torch.zeros_like(like), torch.zeros_like(like), like.new_zeros(len(like)))

    def of(self, rows: torch.Tensor | slice) -> "Moments":
        """Return those of some models; views, where they are a slice."""
        return Moments(self.first[rows], self.second[rows], self.steps[rows])


class Optimizers:
    """One optimizer for each of K models; quicker where those of a kind are side by side.

    Args:
        names: keys of `KINDS`, K of them.
        decays: weight decay of each parameter, of a shape that spreads to that of the weights.
    """

    def __init__(self, names: Sequence[str], decays: torch.Tensor) -> None:
        kinds = [KINDS[name] for name in names]
        self._decays = decays
        self._decay = bool((decays > 0).any())
        self._groups = {
            kind: torch.tensor([k for k, own in enumerate(kinds) if own == kind])
            for kind in dict.fromkeys(kinds)
        }

    def step(
        self,
        theta: torch.Tensor,
        gradient: torch.Tensor,
        moments: Moments,
        rates: torch.Tensor,
        due: torch.Tensor,
    ) -> None:
        """Change weights and moments in place, of those that are due.

        Args:
            theta: weights, shape (K, parameters).
            gradient: of the same shape.
            moments: of all.
            rates: learning rates, shape (K,).
            due: which take a step, booleans of shape (K,).
        """
        decays = self._decays.expand_as(theta) if self._decay else None
        for kind, rows in self._groups.items():
            now = rows[due[rows]]
            if len(now) == 0:
                continue
            first, last = int(now[0]), int(now[-1]) + 1
            if last - first == len(now):  # views will do
                some, changed = slice(first, last), moments.of(slice(first, last))
                own = None if decays is None else decays[some]
                _step(kind, theta[some], gradient[some], changed, rates[some], own)
                continue
            part, weights = moments.of(now), theta[now]
            own = None if decays is None else decays[now]
            _step(kind, weights, gradient[now], part, rates[now], own)
            theta[now] = weights
            moments.first[now], moments.second[now] = part.first, part.second
            moments.steps[now] = part.steps


def _step(
    kind: Kind,
    theta: torch.Tensor,
    gradient: torch.Tensor,
    moments: Moments,
    rates: torch.Tensor,
    decays: torch.Tensor | None,
) -> None:
    rates = rates[:, None]
    if decays is not None:
        if kind.decoupled:
            theta.mul_(1 - rates * decays)
        else:
            gradient = gradient + decays * theta
    moments.steps += 1
    step = gradient
    if kind.keep:
        step = moments.first.mul_(kind.keep).add_(gradient, alpha=kind.take)
        if kind.ahead:
            step = gradient + kind.keep * step
    if kind.adaptive:
        moments.second.mul_(kind.keep_square)
        moments.second.addcmul_(gradient, gradient, value=kind.take_square)
        root = moments.second.sqrt()
        if kind.corrected:
            root.div_((1 - kind.keep_square**moments.steps).sqrt()[:, None])
            rates = rates / (1 - kind.keep**moments.steps)[:, None]
        step = step / root.add_(kind.epsilon)
    theta.addcmul_(step, rates, value=-1)
