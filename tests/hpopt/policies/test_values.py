"""Value networks: an ensemble, and where the lowest point of their values lies."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpopt.policies.grid import CELLS
from hpopt.policies.values import Values, refined
from tests.hpopt.policies.sights import LEVELS, draw


def test_an_ensemble_says_its_mean_and_its_spread() -> None:
    torch.manual_seed(0)
    values, sight = Values(3), draw(0)
    mean, spread = values.predict(sight)
    each = np.stack([n(sight.inputs()).detach().numpy() for n in values.networks])
    assert mean.shape == (5, LEVELS, CELLS)
    assert np.allclose(mean, each.mean(0), atol=1e-6)
    assert np.allclose(spread, each.std(0), atol=1e-6)


def test_it_takes_any_number_of_learning_rates() -> None:
    sight = draw(1)
    values = Values(1)
    for levels in (1, 3, 40):
        inputs = torch.randn(2, sight.inputs().shape[1], levels)
        assert values.networks[0](inputs).shape == (2, levels, CELLS)


@given(st.floats(-0.49, 0.49), st.integers(1, 6), st.floats(0.1, 5.0))
def test_the_lowest_point_of_a_parabola_is_found(offset: float, level: int, bend: float) -> None:
    places = torch.arange(8.0)
    values = bend * (places - level - offset) ** 2
    found, between = refined(values)
    assert found + between == pytest.approx(level + offset, abs=1e-3)


@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0], [np.inf, 0.5, np.inf]])
def test_at_an_end_or_beside_what_is_not_to_be_taken_it_stays_on_the_grid(
    values: list[float],
) -> None:
    level, between = refined(torch.tensor(values))
    assert values[level] == min(values)
    assert between == 0.0
