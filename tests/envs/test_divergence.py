"""Divergences against closed forms and another library."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from hpopt_envs.divergence import forward_kl


def log_probs(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).log()


def test_forward_kl_of_two_coins_is_the_closed_form() -> None:
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert forward_kl(log_probs(0.5, 0.5), log_probs(0.9, 0.1)).item() == pytest.approx(expected)


def test_forward_kl_agrees_with_torch_distributions_on_random_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    reference, policy = torch.randn(2, 5, 7, 50, generator=generator) * 4
    expected = kl_divergence(Categorical(logits=reference), Categorical(logits=policy))
    got = forward_kl(reference.log_softmax(-1), policy)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_forward_kl_is_zero_for_equal_distributions_and_ignores_shifts_of_logits() -> None:
    logits = torch.randn(20, 30, generator=torch.Generator().manual_seed(1))
    got = forward_kl(logits.log_softmax(-1), logits + 5.0)
    torch.testing.assert_close(got, torch.zeros(20), rtol=0, atol=1e-5)


def test_forward_kl_survives_extreme_logits_and_impossible_tokens() -> None:
    reference = log_probs(1.0, 0.0)
    policy = torch.tensor([50.0, -50.0], requires_grad=True)
    got = forward_kl(reference, policy)
    got.backward()
    assert got.item() == pytest.approx(0.0, abs=1e-6)
    assert policy.grad is not None
    assert bool(torch.isfinite(policy.grad).all())


def test_gradient_of_forward_kl_agrees_with_finite_differences() -> None:
    reference = torch.randn(3, 6, dtype=torch.float64).log_softmax(-1)
    policy = torch.randn(3, 6, dtype=torch.float64)
    policy_32 = policy.float().requires_grad_()
    forward_kl(reference, policy_32).sum().backward()
    step = 1e-4
    for index in range(6):
        moved = policy.clone()
        moved[0, index] += step
        expected = (
            kl_divergence(Categorical(logits=reference), Categorical(logits=moved)).sum()
            - kl_divergence(Categorical(logits=reference), Categorical(logits=policy)).sum()
        ) / step
        assert policy_32.grad is not None
        assert policy_32.grad[0, index].item() == pytest.approx(expected.item(), abs=1e-3)
