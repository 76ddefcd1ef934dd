"""Stacked models, losses and gradients, beside plain modules of torch and their autograd."""

import numpy as np
import pytest
import torch

from hpopt_envs.nano.gradients import Penalty, gradient
from hpopt_envs.nano.models import Architecture
from tests.envs.nano.plain import Plain

MLP = Architecture(False, vocabulary=11, context=3, width=4, hidden=7)
ATTENTION = Architecture(True, vocabulary=11, context=5, width=4, hidden=7)
STACK, EXAMPLES = 3, 6


def drawn(architecture: Architecture) -> torch.Tensor:
    random = [np.random.default_rng(seed) for seed in range(STACK)]
    return torch.stack([architecture.draw(own) for own in random])


def tokens(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(11, size=shape))


@pytest.mark.parametrize("architecture", [MLP, ATTENTION], ids=["mlp", "attention"])
def test_predictions_are_those_of_a_plain_module(architecture: Architecture) -> None:
    weights, windows = drawn(architecture), tokens(STACK, EXAMPLES, 5)
    logits = architecture.logits(architecture.cut(weights), windows)
    for own, window, row in zip(weights, windows, logits, strict=True):
        torch.testing.assert_close(row, Plain(architecture, own)(window))


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("architecture", [MLP, ATTENTION], ids=["mlp", "attention"])
def test_gradients_are_those_of_autograd(architecture: Architecture, targets: int) -> None:
    weights, windows = drawn(architecture), tokens(STACK, EXAMPLES, 5)
    labels, retained = tokens(STACK, EXAMPLES, targets), tokens(STACK, 2, 5).flip(1)
    base = drawn(architecture).flip(0)
    logits = architecture.logits(architecture.cut(base), retained)[:, :, -2:]
    betas = torch.tensor([0.0, 0.3, 2.0])
    penalty = Penalty(retained, logits.softmax(-1), betas)
    loss, diverged, change = gradient(architecture, weights, windows, labels, penalty)
    for k in range(STACK):
        plain = Plain(architecture, weights[k])
        expected = torch.nn.functional.cross_entropy(
            plain(windows[k])[:, -targets:].flatten(0, 1), labels[k].flatten()
        )
        kl = torch.nn.functional.kl_div(
            plain(retained[k])[:, -2:].log_softmax(-1).flatten(0, 1),
            logits[k].log_softmax(-1).flatten(0, 1),
            log_target=True,
            reduction="batchmean",
        )
        (expected + betas[k] * kl).backward()
        assert float(loss[k]) == pytest.approx(expected.item())
        assert float(diverged[k]) == pytest.approx(kl.item())
        torch.testing.assert_close(change[k], plain.gradient())


def test_without_a_penalty_the_gradient_is_that_of_the_loss() -> None:
    weights, windows, labels = drawn(MLP), tokens(STACK, EXAMPLES, 5), tokens(STACK, EXAMPLES, 3)
    none = Penalty(windows, torch.full((STACK, EXAMPLES, 1, 11), 1 / 11), torch.zeros(STACK))
    _, diverged, change = gradient(MLP, weights, windows, labels)
    _, measured, same = gradient(MLP, weights, windows, labels, none)
    assert not diverged.any()
    assert measured.all()
    torch.testing.assert_close(change, same)


def test_a_broken_model_breaks_no_other() -> None:
    weights, windows, labels = drawn(MLP), tokens(STACK, EXAMPLES, 5), tokens(STACK, EXAMPLES, 3)
    loss, _, change = gradient(MLP, weights, windows, labels)
    weights[1] = torch.nan
    with_it, _, broken = gradient(MLP, weights, windows, labels)
    assert with_it.isfinite().tolist() == [True, False, True]
    for k in (0, 2):
        assert float(with_it[k]) == pytest.approx(float(loss[k]))
        torch.testing.assert_close(broken[k], change[k])
