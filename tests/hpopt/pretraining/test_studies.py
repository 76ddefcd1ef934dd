"""Q-learning over studies: what an episode is, and that practice helps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpopt.policies.grid import CELLS
from hpopt.policies.sight import CHANNELS, MOST_LEFT
from hpopt.policies.values import ValueNetwork, Values
from hpopt.pretraining.fitting import drawn_lesson, held_cells
from hpopt.pretraining.judging import replay
from hpopt.pretraining.studies import DISCOUNT, StudiesEnv, practise
from hpopt.pretraining.tables import RAMP_LEVELS
from tests.hpopt.pretraining.made_up import made_up

COUNT = 24


def seen(observations: np.ndarray) -> np.ndarray:
    """What value networks see of each study, shape (n, CHANNELS, L)."""
    return observations.reshape(len(observations), CHANNELS, RAMP_LEVELS)


def tried(observations: np.ndarray) -> np.ndarray:
    """Whether each cell was tried, shape (n, L, CELLS)."""
    begin = CHANNELS - 3 * CELLS
    return seen(observations)[:, begin : begin + CELLS].transpose(0, 2, 1)


def test_a_study_ends_with_its_last_trial_and_another_begins() -> None:
    env = StudiesEnv(made_up(), COUNT, seed=0)
    observations = env.reset()
    left = np.rint(seen(observations)[:, 11, 0] * MOST_LEFT)
    assert set(left) == {1, 2, 3, 4, 5}
    assert not tried(observations).any()
    for step in range(1, MOST_LEFT + 1):
        observations, _, done, infos = env.step(np.full(COUNT, step))
        first = left >= step  # studies that were there at the beginning
        assert (done[first] == (left == step)[first]).all()
        for k in np.flatnonzero(done & first):
            ended = tried(infos[k]["terminal_observation"][None])[0]
            assert ended.sum() == left[k]
        assert (tried(observations)[done] == 0).all()


def lowest(rewards: np.ndarray, done: np.ndarray) -> np.ndarray:
    """The lowest regret so far of each study: the last trial counts for all that could follow."""
    return -rewards / np.where(done, 1.0, 1.0 - DISCOUNT)


def test_what_a_trial_is_rewarded_for_is_the_lowest_regret_so_far() -> None:
    """Of tasks that lose .15 of their gain an octave below the best rate, .5 an octave above."""
    table, found = made_up(1), []
    for cell in range(RAMP_LEVELS * CELLS):
        env = StudiesEnv(table, 1, seed=3)  # the same study
        env.reset()
        _, rewards, done, _ = env.step(np.array([cell]))
        found.append(float(lowest(rewards, done)[0]))
    best, first = found.index(min(found)) // CELLS, max(found)
    assert min(found) == pytest.approx(0.0, abs=1e-5)
    assert 0 < first <= 1
    for cell, regret in enumerate(found):
        octaves = cell // CELLS - best
        own = 0.5 * octaves if octaves > 0 else -0.15 * octaves
        assert regret == pytest.approx(min(first, own), abs=1e-5)


def test_the_return_is_the_lowest_regret_on_average_over_what_follows() -> None:
    """Where it never changes it is that regret, however many trials a study has."""
    env = StudiesEnv(made_up(200), 200, seed=1)
    env.reset()
    cells = np.random.default_rng(0).integers(RAMP_LEVELS * CELLS, size=200)
    returned, discount, going_on = np.zeros(200), 1.0, np.ones(200, bool)
    found = np.zeros(200)
    for step in range(MOST_LEFT):  # the same cell again and again
        _, rewards, done, _ = env.step(cells)
        if step == 0:
            found = lowest(rewards, done)
        returned += np.where(going_on, discount * rewards, 0.0)
        going_on &= ~done
        discount *= DISCOUNT
    assert not going_on.any()
    assert returned == pytest.approx(-found, abs=1e-5)


def test_the_first_trial_holds_what_was_lowest_in_its_ramp() -> None:
    table = made_up(50)
    drawn = drawn_lesson(table, torch.Generator().manual_seed(0))
    levels = held_cells(drawn) // CELLS
    ramps = drawn.sight.ramps[..., 0]
    for level, ramp in zip(levels.tolist(), ramps.tolist(), strict=True):
        known = [(loss, k) for k, loss in enumerate(ramp) if loss == loss]
        assert level == (min(known)[1] if known else 6)


def test_practice_finds_what_no_ramp_shows() -> None:
    """Without a ramp a study must search, and what it finds must tell it where to go on."""
    table = made_up(300)
    blind = replace(table, ramps=torch.full_like(table.ramps, torch.nan))
    torch.manual_seed(0)
    begun = ValueNetwork()
    practised = practise(begun, blind, 12_000, seed=0)
    regrets = []
    for network in (begun, practised):
        values = Values(1)
        values.networks[0] = network
        regrets.append(replay(values.eval(), blind, MOST_LEFT).mean(0))
    assert float(regrets[1][-1]) < 0.5 * float(regrets[0][-1])
    assert float(regrets[1][-1]) < 0.6 * float(regrets[1][0])


def test_the_same_seed_practises_alike_and_leaves_generators_alone() -> None:
    torch.manual_seed(0)
    begun, table = ValueNetwork(), made_up(30)
    state = torch.get_rng_state()
    one, two, other = (practise(begun, table, 3_000, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [torch.cat([p.flatten() for p in n.parameters()]) for n in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
