"""What value networks are given: by hand, and what it must not depend on."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpopt.policies.grid import CELLS, ramp_steps
from hpopt.policies.sight import CHANNELS, RISE, cut_ramps
from tests.hpopt.policies.sights import LEVELS, draw

LOSSES = st.lists(st.floats(0.5, 6.0) | st.just(math.inf), min_size=2, max_size=12)


def test_its_shape_is_the_networks() -> None:
    assert draw(0).inputs().shape == (5, CHANNELS, LEVELS)
    assert draw(0).inputs().isfinite().all()


def test_losses_count_as_shares_of_the_base_models() -> None:
    sight = draw(1)
    scaled = torch.tensor([2.0, 2.0, 1.0])  # of loss and forgetting; norms have their own unit
    other = replace(sight, ramps=sight.ramps * scaled, base_loss=sight.base_loss * 2)
    assert torch.allclose(sight.inputs(), other.inputs(), atol=1e-5)


def test_gradient_norms_count_as_ratios_to_the_first() -> None:
    sight = draw(2)
    other = replace(sight, ramps=sight.ramps * torch.tensor([1.0, 1.0, 8.0]))
    assert torch.allclose(sight.inputs(), other.inputs(), atol=1e-5)


def test_what_lies_an_octave_higher_is_seen_an_octave_higher() -> None:
    """But for its beginning, which stands for the base model."""
    sight = draw(3)
    sight.gains[:, -1] = torch.nan
    moved = replace(
        sight,
        ramps=torch.cat([sight.ramps[:, :1], sight.ramps[:, :-1]], 1),
        gains=torch.cat([torch.full_like(sight.gains[:, :1], torch.nan), sight.gains[:, :-1]], 1),
        default=sight.default + 1,
    )
    assert torch.allclose(sight.inputs()[:, :, 1:-1], moved.inputs()[:, :, 2:], atol=1e-5)


def test_what_was_not_seen_and_not_tried_is_zero_and_says_so() -> None:
    sight = draw(4)
    blind = replace(
        sight,
        ramps=torch.full_like(sight.ramps, torch.nan),
        gains=torch.full_like(sight.gains, torch.nan),
    )
    inputs = blind.inputs()
    assert (inputs[:, :7] == 0).all()
    assert (inputs[:, 13:] == 0).all()
    assert (sight.inputs()[:, 6] == 1).all()
    tried = sight.inputs()[:, 13 : 13 + CELLS].transpose(1, 2)
    assert torch.equal(tried == 1, ~sight.gains.isnan())


def test_an_explosion_is_the_worst_there_is() -> None:
    sight = draw(5)
    sight.ramps[:, 8:] = torch.inf
    sight.gains[:, 3, 2] = -torch.inf
    inputs = sight.inputs()
    assert inputs.isfinite().all()
    assert (inputs[:, 2, 8:] == 1).all()
    assert (inputs[:, 13 + CELLS + 2, 3] == -1).all()


@given(LOSSES, st.floats(0.0, 1.0))
def test_a_ramp_ends_with_its_first_rise(losses: list[float], weight: float) -> None:
    forgetting, base = [0.1 * k for k in range(len(losses))], 4.0
    ramp = torch.tensor([losses, forgetting, [1.0] * len(losses)]).T[None]
    best, kept = math.inf, []
    for loss, forgotten in zip(losses, forgetting, strict=True):
        objective = loss + weight * forgotten
        kept.append(loss)
        if objective > best + RISE * base or objective == math.inf:
            break
        best = min(best, objective)
    cut = cut_ramps(ramp, torch.tensor([base]), torch.tensor([weight]))[0, :, 0]
    assert cut[: len(kept)].tolist() == pytest.approx(kept)
    assert cut[len(kept) :].isnan().all()


@pytest.mark.parametrize(("steps", "wanted"), [(39, 0), (40, 1), (79, 1), (80, 2), (640, 2)])
def test_a_ramp_of_twelve_levels_takes_two_steps_each_or_one_or_there_is_none(
    steps: int, wanted: int
) -> None:
    assert ramp_steps(steps, 12) == wanted
