"""Divergences against closed forms, other libraries, brute force, and what must always hold.

Tolerances: float64 to a relative 1e-9; float32 to a relative 1e-4 and 1e-6 nats; bf16 logits as
float32 does on the same rounded logits, their gradient to bf16's own rounding, 2^-8.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax
from scipy.stats import entropy
from torch.distributions import Categorical, kl_divergence

from hpopt_envs.divergences import f_divergence as module
from hpopt_envs.divergences.f_divergence import DIVERGENCES, divergence
from hpopt_envs.errors import WorldError

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
