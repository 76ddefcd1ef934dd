"""Optimizers of many models at once, beside PyTorch's, one for each model."""

import pytest
import torch

from hpopt_envs.nano.optimizers import KINDS, Moments, Optimizers
from hpopt_envs.training.optimizers import build_optimizer

SIZE = 5


def gradients(steps: int, models: int) -> torch.Tensor:
    return torch.randn(steps, models, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_pytorch(decay: float) -> None:
    names = [name for name in KINDS for _ in range(2)]
    rates = torch.linspace(0.01, 0.1, len(names))
    theta = torch.ones(len(names), SIZE)
    moments = Moments.zero(theta)
    optimizers = Optimizers(names, torch.full((len(names), 1), decay))
    plain = [torch.nn.Parameter(torch.ones(SIZE)) for _ in names]
    theirs = [build_optimizer(name, [p]) for name, p in zip(names, plain, strict=True)]
    for step, gradient in enumerate(gradients(6, len(names))):
        # One of each kind takes every step, the other every second one.
        due = torch.tensor([k % 2 == 0 or step % 2 == 1 for k in range(len(names))])
        optimizers.step(theta, gradient.clone(), moments, rates, due)
        for k in due.nonzero().flatten().tolist():
            group = theirs[k].param_groups[0]
            group["lr"], group["weight_decay"] = float(rates[k]), decay
            plain[k].grad = gradient[k].clone()
            theirs[k].step()
    for name, own, expected in zip(names, theta, plain, strict=True):
        torch.testing.assert_close(own, expected.detach(), msg=name)


def test_the_order_of_kinds_changes_nothing() -> None:
    def trained(names: list[str]) -> dict[str, torch.Tensor]:
        theta = torch.ones(len(names), SIZE)
        moments, optimizers = Moments.zero(theta), Optimizers(names, torch.zeros(1, 1))
        rates, due = torch.full((len(names),), 0.1), torch.ones(len(names), dtype=torch.bool)
        for gradient in gradients(3, 1):
            optimizers.step(theta, gradient.expand_as(theta).clone(), moments, rates, due)
        return dict(zip(names, theta, strict=True))

    apart, together = ["sgd", "adam", "sgd", "adam"], ["sgd", "sgd", "adam", "adam"]
    for name, theta in trained(apart).items():
        torch.testing.assert_close(trained(together)[name], theta)
