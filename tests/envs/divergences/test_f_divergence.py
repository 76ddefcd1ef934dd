"""Divergences against closed forms, other libraries, brute force, and what must always hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from torch.distributions import Categorical, kl_divergence

from hpopt_envs.divergences.f_divergence import DIVERGENCES, divergence
from tests.envs.divergences.cases import (
    GRADIENT_TOLERANCE,
    TOLERANCE,
    brute_force,
    each_divergence,
    each_dtype,
    each_name,
    random_logits,
    value_and_gradient,
)

# --- values ---


def test_a_fair_and_a_loaded_coin_diverge_by_the_closed_forms() -> None:
    fair = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    loaded = torch.tensor([0.9, 0.1], dtype=torch.float64).log()

    def bits(p: float) -> float:
        return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

    affinity = math.sqrt(0.45) + math.sqrt(0.05)
    expected = {
        "forward_kl": -0.5 * math.log(4 * 0.9 * 0.1),
        "reverse_kl": 0.9 * math.log(1.8) + 0.1 * math.log(0.2),
        "jensen_shannon": math.log(2) * (bits(0.7) - (bits(0.5) + bits(0.9)) / 2),
        "total_variation": 0.4,
        "chi_squared": 0.64,
        "squared_hellinger": 2 - 2 * affinity,
        "alpha": 4 - 4 * affinity,
    }
    got = {name: divergence(name, fair, loaded).item() for name in DIVERGENCES}
    assert got == pytest.approx(expected, rel=1e-12)


@each_dtype
@each_divergence
def test_values_are_the_mean_of_f_under_the_reference(
    name: str, alpha: float, dtype: torch.dtype
) -> None:
    reference, policy = random_logits(3, 7, 50, dtype=dtype)
    got = divergence(name, reference, policy, alpha)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = brute_force(name, reference, policy, alpha)
    rtol, atol = TOLERANCE[dtype]
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=atol)


def test_values_are_those_of_scipy_and_torch() -> None:
    reference, policy = random_logits(20, 50)
    q, p = reference.softmax(-1).numpy(), policy.softmax(-1).numpy()
    for_reference, for_policy = Categorical(logits=reference), Categorical(logits=policy)
    for name, others in {
        "forward_kl": (entropy(q, p, axis=1), kl_divergence(for_reference, for_policy)),
        "reverse_kl": (entropy(p, q, axis=1), kl_divergence(for_policy, for_reference)),
        "jensen_shannon": (jensenshannon(p, q, axis=1) ** 2,),
    }.items():
        for other in others:
            expected = torch.as_tensor(other)
            torch.testing.assert_close(divergence(name, reference, policy), expected)


@each_divergence
def test_float32_still_resolves_small_divergences(name: str, alpha: float) -> None:
    reference, nudge = random_logits(20, 1000, dtype=torch.float32)
    policy = reference + 1e-3 * nudge + 5.0
    expected = divergence(name, reference.double(), policy.double(), alpha)
    assert expected.max() < 1e-3
    got = divergence(name, reference, policy, alpha)
    atol = 2e-7 if name == "forward_kl" else 1e-9  # nats
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=atol)


# --- gradients ---


@each_divergence
def test_gradients_agree_with_finite_differences(name: str, alpha: float) -> None:
    reference, policy = random_logits(2, 3, 6)  # at random, so off total variation's kink
    policy.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: divergence(name, reference, x, alpha), policy)


@each_dtype
@each_divergence
def test_gradients_come_in_the_dtype_of_the_policy(
    name: str, alpha: float, dtype: torch.dtype
) -> None:
    reference, policy = random_logits(4, 30, dtype=dtype)
    _, got = value_and_gradient(name, reference, policy, alpha)
    _, expected = value_and_gradient(name, reference.double(), policy.double(), alpha)
    assert got.dtype == dtype
    rtol, atol = GRADIENT_TOLERANCE[dtype]
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=atol)


@each_name
def test_the_reference_gets_no_gradient(name: str) -> None:
    reference, policy = random_logits(4, 5)
    assert not divergence(name, reference.requires_grad_(), policy).requires_grad


# --- what must always hold ---

LOGITS = arrays(np.float64, (2, 6), elements=st.floats(-30, 30))


@given(LOGITS, st.floats(-3, 3))
def test_divergences_keep_their_bounds_and_symmetries(logits: np.ndarray, alpha: float) -> None:
    reference, policy = torch.from_numpy(logits)
    there = {name: divergence(name, reference, policy, alpha).item() for name in DIVERGENCES}
    back = {name: divergence(name, policy, reference, 1 - alpha).item() for name in DIVERGENCES}
    assert min(there.values()) >= 0
    assert there["total_variation"] <= 1 + 1e-12
    assert there["jensen_shannon"] <= math.log(2) + 1e-12
    assert there["squared_hellinger"] <= 2 + 1e-12
    assert there["total_variation"] ** 2 <= there["forward_kl"] / 2 + 1e-12  # Pinsker
    for name in ("jensen_shannon", "total_variation", "squared_hellinger", "alpha"):
        assert there[name] == pytest.approx(back[name], rel=1e-9, abs=1e-12)
    assert there["forward_kl"] == pytest.approx(back["reverse_kl"], rel=1e-9, abs=1e-12)


@given(LOGITS, st.floats(-1e3, 1e3))
def test_a_shift_of_logits_changes_nothing(logits: np.ndarray, shift: float) -> None:
    reference, policy = torch.from_numpy(logits)
    for name in DIVERGENCES:
        expected = divergence(name, reference, policy)
        for got in (
            divergence(name, reference.log_softmax(-1), policy),
            divergence(name, reference + shift, policy - shift),
        ):
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@each_dtype
@each_divergence
def test_equal_distributions_have_no_divergence_and_no_gradient(
    name: str, alpha: float, dtype: torch.dtype
) -> None:
    logits, _ = random_logits(5, 100, dtype=dtype)
    value, gradient = value_and_gradient(name, logits, logits, alpha)
    assert not value.any()
    assert not gradient.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("step", [0.0, 1e-300, 1e-30, -1e-12, 1e-7, -1e-4])
@pytest.mark.parametrize(("limit", "name"), [(0, "forward_kl"), (1, "reverse_kl")])
def test_the_alpha_divergence_reaches_both_kls(
    limit: int, name: str, step: float, dtype: torch.dtype
) -> None:
    reference, policy = random_logits(5, 100, dtype=dtype)
    got = value_and_gradient("alpha", reference, policy, limit + step)
    expected = value_and_gradient(name, reference, policy)
    tolerance = TOLERANCE[dtype][1] + 10 * abs(step)  # it approaches them linearly
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
