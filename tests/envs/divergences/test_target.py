"""Alignment on a policy small enough to enumerate: what is estimated is summed exactly."""

import math

import pytest
import torch

from hpopt_envs.divergences.f_divergence import DIVERGENCES, divergence
from hpopt_envs.divergences.moments import fit_moments
from hpopt_envs.divergences.target import (
    HARDEST,
    effective_sample_share,
    group_log_mean_exp,
    log_ratios,
    pseudo_rewards,
    slope,
)
from hpopt_envs.errors import WorldError

RESPONSES = 8
BETA = 0.7
ALPHA = 0.3
BASE = torch.randn(RESPONSES, generator=torch.Generator().manual_seed(0)).double().log_softmax(0)
REWARD = torch.randn(RESPONSES, generator=torch.Generator().manual_seed(1)).double()
TARGET = (BASE + REWARD / BETA).log_softmax(0)  # brute force: normalised over all responses
PAPER = {  # f′ as in Go et al. 2023, table 1, up to a constant
    "forward_kl": lambda t: 1 - 1 / t,
    "reverse_kl": lambda t: t.log(),
    "jensen_shannon": lambda t: 0.5 * (2 * t / (1 + t)).log(),
    "total_variation": lambda t: 0.5 * (t - 1).sign(),
}


def samples(logits: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(logits.softmax(0).detach(), n, replacement=True, generator=generator)


def estimate(logits: torch.Tensor, n: int, seed: int, name: str, group: torch.Tensor | None = None):
    """The gradient of D_f(π, target) from n samples, and as it is."""
    drawn = samples(logits, n, seed)
    group = torch.zeros(n, dtype=torch.long) if group is None else group
    log_policy = logits.log_softmax(0)
    log_t = log_ratios(log_policy[drawn].detach(), BASE[drawn], REWARD[drawn] / BETA, group)
    weights = pseudo_rewards(log_t, group, name, ALPHA)
    return torch.autograd.grad((weights * log_policy[drawn]).mean(), logits)[0]


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_gradient_is_that_of_the_divergence(name: str) -> None:
    logits = (BASE + 0.5 * REWARD).requires_grad_()
    exact = torch.autograd.grad(divergence(name, TARGET, logits, ALPHA), logits)[0]
    rounds = torch.stack([estimate(logits, 4096, seed, name) for seed in range(50)])
    error = rounds.std(0) / math.sqrt(len(rounds))
    assert ((rounds.mean(0) - exact).abs() < 4 * error + 1e-3 * exact.abs().max()).all()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_optimum_is_the_target(name: str) -> None:
    logits = BASE.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, 400)
    for step in range(400):
        logits.grad = estimate(logits, 256, step, name)
        optimizer.step()
        schedule.step()
    reached = logits.detach().softmax(0)
    # The sign of t − 1 jumps at the target: that of total variation alone stays noisy there.
    tolerance = 0.03 if name == "total_variation" else 0.005
    assert 0.5 * (reached - TARGET.exp()).abs().sum() < tolerance


def test_at_the_target_there_is_no_gradient_and_no_noise() -> None:
    for name in set(DIVERGENCES) - {"total_variation"}:  # which has a kink there
        logits = TARGET.clone().requires_grad_()
        assert estimate(logits, 16, 0, name).abs().max() < 1e-9


@pytest.mark.parametrize("name", PAPER)
def test_slopes_are_the_papers(name: str) -> None:
    t = torch.tensor([0.01, 0.5, 1.0, 2.0, 30.0], dtype=torch.float64)
    torch.testing.assert_close(slope(name, t.log()), PAPER[name](t))


def test_slopes_of_alpha_meet_those_of_its_family() -> None:
    log_t = torch.linspace(-3, 3, 9, dtype=torch.float64)
    for alpha, name, scale in (
        (0.0, "forward_kl", 1.0),
        (1.0, "reverse_kl", 1.0),
        (0.5, "squared_hellinger", 2.0),
        (2.0, "chi_squared", 0.5),
    ):
        torch.testing.assert_close(slope("alpha", log_t, alpha), scale * slope(name, log_t))


def test_reverse_kl_is_rlhf() -> None:
    """E[(r − β log π/a) ∇log π], the policy gradient of a reward with a KL penalty, over −β."""
    logits = (BASE + 0.5 * REWARD).requires_grad_()
    policy = logits.softmax(0)
    value = (policy * (REWARD - BETA * (policy.log() - BASE))).sum()
    rlhf = torch.autograd.grad(value, logits)[0]
    exact = torch.autograd.grad(divergence("reverse_kl", TARGET, logits), logits)[0]
    torch.testing.assert_close(exact, -rlhf / BETA)


def test_groups_have_partition_functions_and_baselines_of_their_own() -> None:
    drawn, n = samples(BASE, 40, 0), 20
    group = torch.tensor([7, 3]).repeat(n)  # interleaved, and no numbers from 0
    shifted = REWARD[drawn] / BETA + 5.0 * (group == 7)  # changes no target
    log_t = log_ratios(BASE[drawn] + 0.1, BASE[drawn], shifted, group)
    weights = pseudo_rewards(log_t, group, "jensen_shannon")
    for one in (3, 7):
        mine = group == one
        alone = log_ratios(
            BASE[drawn][mine] + 0.1,
            BASE[drawn][mine],
            REWARD[drawn][mine] / BETA,
            torch.zeros(n, dtype=torch.long),
        )
        torch.testing.assert_close(log_t[mine], alone)
        slopes = slope("jensen_shannon", alone)
        others = (slopes.sum() - slopes) / (n - 1)
        torch.testing.assert_close(weights[mine], slopes - others)


def test_where_nothing_is_known_nothing_is_learnt() -> None:
    scores = torch.tensor([0.0, -math.inf, -math.inf, -math.inf])
    log_t = log_ratios(torch.zeros(4), torch.zeros(4), scores, torch.tensor([0, 0, 1, 1]))
    assert log_t.tolist() == pytest.approx([math.log(0.5), HARDEST, 0.0, 0.0])
    for name in DIVERGENCES:
        weights = pseudo_rewards(log_t, torch.tensor([0, 0, 1, 1]), name)
        assert weights.isfinite().all()
        assert weights[0] < 0 < weights[1]  # towards the one that the constraint allows
        assert weights[2:].tolist() == [0.0, 0.0]
    assert pseudo_rewards(torch.tensor([3.0]), torch.tensor([0]), "reverse_kl").tolist() == [0.0]


def test_effective_sample_share_is_kishs() -> None:
    log_weight = torch.tensor([0.0, 1.0, -2.0, 0.5, 3.0])
    w = log_weight.exp()
    share = effective_sample_share(log_weight, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(share, (w.sum() ** 2 / (w**2).sum() / 5).expand(5))
    even = effective_sample_share(torch.full((4,), -700.0), torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(even, torch.ones(4))
    impossible = torch.full((2,), -math.inf)
    assert (
        group_log_mean_exp(impossible, torch.zeros(2, dtype=torch.long)).tolist() == [-math.inf] * 2
    )


def features_of(*columns: list[float]) -> torch.Tensor:
    """One prompt's samples: (1, n, k)."""
    return torch.tensor(columns).T[None]


def test_moments_are_met_by_the_exponential_tilt() -> None:
    drawn = samples(BASE, 3000, 2)
    phi = torch.stack([REWARD[drawn], (drawn < 3).double()], -1)
    goal = [float(REWARD.mean()) + 0.3, 0.5]
    moments = fit_moments(phi[None], goal, ["reward", "few"])
    weights = moments.score(phi).softmax(0)  # self-normalised, as all samples are of one prompt
    torch.testing.assert_close(
        weights @ phi, torch.tensor(goal, dtype=torch.double), atol=1e-3, rtol=0
    )
    # One binary feature has a closed form: λ = logit(target) − logit(share).
    one = fit_moments(features_of([1.0] * 10 + [0.0] * 90), [0.5], ["ten"])
    assert float(one.weights) == pytest.approx(math.log(9), abs=1e-3)


def test_the_moments_of_prompts_are_those_of_their_mean() -> None:
    phi = torch.tensor([[[1.0], [0.0], [0.0], [0.0]], [[1.0], [1.0], [0.0], [0.0]]])
    moments = fit_moments(phi, [0.7], ["contains"])
    shares = moments.score(phi.view(8, 1)).view(2, 4).softmax(1)
    assert float((shares * phi[..., 0]).sum(1).mean()) == pytest.approx(0.7, abs=1e-3)


def test_a_constraint_on_every_response_is_pointwise() -> None:
    moments = fit_moments(features_of([1.0, 0.0, 0.0], [3.0, 4.0, 5.0]), [1.0, 3.0], ["a", "b"])
    scores = moments.score(torch.tensor([[1.0, 3.0], [1.0, 4.0], [0.0, 3.0]]))
    assert scores.tolist() == [0.0, -math.inf, -math.inf]


@pytest.mark.parametrize(
    ("columns", "goal", "said"),
    [
        (([0.0, 0.0, 0.0],), [0.5], "from 0 to 0"),
        (([0.0, 1.0, 2.0],), [3.0], "from 0 to 2"),
        (([1.0, 0.0], [0.0, 1.0]), [1.0, 1.0], "none of the base model's 2 samples keeps them"),
        (([1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]), [0.9, 0.8], "together with the others"),
    ],
)
def test_a_constraint_out_of_reach_is_refused_in_one_line(columns, goal, said) -> None:
    names = [f"regex:{k}" for k in range(len(columns))]
    with pytest.raises(WorldError, match=said) as caught:
        fit_moments(features_of(*columns), goal, names)
    assert "\n" not in str(caught.value)


def test_gdc_reaches_its_moments_by_every_divergence() -> None:
    phi = (torch.arange(RESPONSES) < 2).double()[:, None]
    drawn = samples(BASE, 20_000, 3)
    moments = fit_moments(phi[drawn][None], [0.5], ["first"])
    for name in ("forward_kl", "reverse_kl", "jensen_shannon", "total_variation"):
        logits = BASE.clone().requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.1)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, 300)
        for step in range(300):
            x = samples(logits, 256, step)
            log_policy, group = logits.log_softmax(0), torch.zeros(256, dtype=torch.long)
            log_t = log_ratios(log_policy[x].detach(), BASE[x], moments.score(phi[x]), group)
            weights = pseudo_rewards(log_t, group, name)
            logits.grad = torch.autograd.grad((weights * log_policy[x]).mean(), logits)[0]
            optimizer.step()
            schedule.step()
        assert float(logits.detach().softmax(0) @ phi[:, 0]) == pytest.approx(0.5, abs=0.03)
