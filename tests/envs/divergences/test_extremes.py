"""Divergences of extreme logits, in chunks, in little memory; mistakes."""

import math
import os
import subprocess
import sys

import pytest
import torch

from hpopt_envs.divergences import f_divergence as module
from hpopt_envs.divergences.f_divergence import DIVERGENCES, divergence
from hpopt_envs.errors import WorldError
from tests.envs.divergences.cases import (
    each_divergence,
    each_name,
    each_training_dtype,
    random_logits,
    value_and_gradient,
)

# --- extremes ---


@each_training_dtype
@each_divergence
def test_extreme_logits_give_finite_values_and_gradients(
    name: str, alpha: float, dtype: torch.dtype
) -> None:
    extreme = torch.tensor([1e4, -1e4, 0.0, -math.inf, torch.finfo(dtype).min])
    rows = torch.stack([extreme.roll(shift) for shift in range(5)]).to(dtype)
    reference, policy = rows.repeat(5, 1), rows.repeat_interleave(5, dim=0)  # every pair
    value, gradient = value_and_gradient(name, reference, policy, alpha)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(gradient.float().norm())


@each_training_dtype
@pytest.mark.parametrize(
    ("name", "alpha", "expected"),
    [
        ("forward_kl", 0.5, math.log(2)),
        ("reverse_kl", 0.5, math.inf),
        ("jensen_shannon", 0.5, 0.75 * math.log(4 / 3)),
        ("total_variation", 0.5, 0.5),
        ("chi_squared", 0.5, math.inf),
        ("squared_hellinger", 0.5, 2 - math.sqrt(2)),
        ("alpha", -1.0, 0.5),
        ("alpha", 0.5, 4 - 2 * math.sqrt(2)),
        ("alpha", 1.5, math.inf),
    ],
)
def test_a_policy_is_pulled_off_a_token_impossible_for_the_reference(
    name: str, alpha: float, expected: float, dtype: torch.dtype
) -> None:
    reference, policy = torch.tensor([[0, -math.inf], [0, 0]], dtype=dtype)
    value, gradient = value_and_gradient(name, reference, policy, alpha)
    if math.isinf(expected):
        assert value > 1e9
    else:
        assert value.item() == pytest.approx(expected, rel=1e-6)
    assert gradient[1] > 0 > gradient[0]


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
def test_probabilities_too_small_for_float32_still_count(name: str) -> None:
    sure, opposite = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert divergence(name, sure, opposite).item() == pytest.approx(1e4)


@each_name
def test_logits_that_are_not_numbers_are_not_hidden(name: str) -> None:
    reference, policy = random_logits(3, 5, dtype=torch.float32)
    policy[1, 2] = math.nan
    assert divergence(name, reference, policy).isnan().tolist() == [False, True, False]


# --- chunks, shapes, memory ---


@pytest.mark.parametrize("elements", [1, 17, 50, 17 * 5, 200, 17 * 5 * 4 * 2])
@each_name
def test_chunks_change_nothing(name: str, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, policy = random_logits(3, 4, 6, 17)
    # As in a language model: all positions but the last, which leaves gaps in memory.
    reference, policy = reference[:, :, :-1], policy[:, :, :-1]
    whole = value_and_gradient(name, reference.contiguous(), policy.contiguous())
    monkeypatch.setattr(module, "CPU_CHUNK_ELEMENTS", elements)
    chunked = value_and_gradient(name, reference, policy)
    torch.testing.assert_close(chunked, whole, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (2, 1, 3), (0,), (3, 0)])
@each_name
def test_leading_dimensions_are_kept(name: str, leading: tuple[int, ...]) -> None:
    reference, policy = random_logits(*leading, 5)
    value, gradient = value_and_gradient(name, reference, policy)
    assert value.shape == leading
    assert gradient.shape == (*leading, 5)


PEAK_MEMORY = """
import torch
from hpopt_envs.divergences.f_divergence import divergence

def megabytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024

def all_at_once(reference, policy):
    return torch.nn.functional.kl_div(
        policy.log_softmax(-1), reference.log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)

def train(reference, policy, functions):
    for function in functions:
        policy.grad = None
        function(reference, policy).mean().backward()

names = ("forward_kl", "jensen_shannon", "alpha")
ours = [lambda *logits, name=name: divergence(name, *logits) for name in names]
train(torch.zeros(2, 2), torch.zeros(2, 2, requires_grad=True), [*ours, all_at_once])
reference, policy = (torch.randn(2, 97, 150_000)[:, :-1] for _ in range(2))
policy.requires_grad_()
before, size = megabytes("VmRSS:"), policy.numel() * policy.element_size() / 2**20
for functions in (ours, [all_at_once]):
    train(reference, policy, functions)
    print((megabytes("VmHWM:") - before) / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_a_large_vocabulary_takes_little_memory_beside_logits_and_gradient() -> None:
    told = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    chunked, all_at_once = map(float, told.stdout.split())  # sizes of the policy's logits
    assert chunked < 1.6  # the gradient is 1
    assert all_at_once > 3  # so that the bound says something


# --- mistakes ---


def test_an_unknown_name_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(WorldError, match=f"one of {', '.join(DIVERGENCES)}, but got 'kl'"):
        divergence("kl", torch.zeros(2), torch.zeros(2))


def test_logits_of_two_shapes_are_refused() -> None:
    with pytest.raises(WorldError, match=r"same shape, but got \(3, 1\) and \(3, 5\)"):
        divergence("forward_kl", torch.zeros(3, 1), torch.zeros(3, 5))
