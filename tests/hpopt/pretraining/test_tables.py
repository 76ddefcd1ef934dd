"""Tables of nano tasks, against trials of the environment and sums by hand."""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from hpopt.policies.grid import BATCH_MULTIPLES, CELLS, DIVERGENCE_WEIGHTS
from hpopt.policies.sight import Sight
from hpopt.policies.values import Values
from hpopt.pretraining import fitting
from hpopt.pretraining.families import HELD_OUT, LARGEST, LONGEST, seen_of, training_families
from hpopt.pretraining.fitting import drawn_lesson, fit, lesson, with_history
from hpopt.pretraining.judging import default_regret, portfolio, replay
from hpopt.pretraining.tables import OCTAVES, RAMP_LEVELS, RAMP_STARTS, Table, make_table
from hpopt_envs import make_env
from hpopt_envs.nano.families import named_families
from hpopt_envs.schedules import AGENT_SHAPE, HELD_SHAPE
from tests.hpopt.pretraining.made_up import made_up

MARKOV = replace(named_families()["markov"], optimizers=("adamw",))


@pytest.fixture(scope="module")
def table() -> Table:
    return make_table(MARKOV, 3)


# ---- families


def test_nothing_of_what_is_held_out_is_learned_from() -> None:
    families = list(islice(training_families(0), 30))
    assert len({family.name for family in families}) == 30
    for family in families:
        assert family.architecture.parameters <= LARGEST
        assert family.horizon <= LONGEST
        assert "text" not in family.sources
        assert "adagrad" not in family.optimizers
        assert not family.name.isdecimal()  # nobody else's tasks are called so
    assert any(family.architecture.attention for family in families)
    assert all(seen_of(named_families()[name]) is None for name in HELD_OUT)


def test_another_seed_draws_other_families() -> None:
    first, second = (list(islice(training_families(seed), 5)) for seed in (0, 1))
    assert {f.name for f in first}.isdisjoint(f.name for f in second)


# ---- tables


def test_a_cell_is_what_a_trial_of_the_environment_comes_to(table: Table) -> None:
    """Side by side or alone, with the same draws."""
    env = make_env("nano:markov:1", fixed={"optimizer": "adamw"}, validate_segments=False)
    default = float(env.space.defaults()["learning_rate"])
    for octave, weight, multiple in ((0, 0.3, 1), (2, 1.0, 4), (-3, 0.0, 1)):
        env.reset(seed=0)
        values = {**HELD_SHAPE, **env.facts.fixed, "learning_rate": default * 2.0**octave}
        values |= {"divergence_weight": weight, "batch_size": 4 * multiple}
        env.train(values, tokens=env.facts.trial_tokens)
        place = (
            OCTAVES.index(octave),
            DIVERGENCE_WEIGHTS.index(weight),
            BATCH_MULTIPLES.index(multiple),
        )
        metrics = env.trial.segments[-1].metrics
        assert float(table.loss[1][place]) == pytest.approx(metrics["loss"], rel=1e-3)
        forgetting = float(table.forgetting[1][place])
        assert forgetting == pytest.approx(metrics["forgetting"], rel=0.02, abs=2e-3)


def test_a_ramp_is_what_probed_training_of_the_environment_sees(table: Table) -> None:
    env = make_env("nano:markov:1", fixed={"optimizer": "adamw"}, validate_segments=False)
    default = float(env.space.defaults()["learning_rate"])
    start = 2
    env.reset(seed=start + 1)
    for level in range(4):
        rate = default * 2.0 ** (RAMP_STARTS[start] + level)
        values = {**AGENT_SHAPE, **env.facts.fixed, "learning_rate": rate}
        values |= {"divergence_weight": env.space.defaults()["divergence_weight"], "batch_size": 4}
        env.train(values, tokens=4 * env.facts.sequence_length, probe=True)
        segment = env.trial.segments[-1]
        seen = table.ramps[1, start, level].tolist()
        shown = [segment.probe_loss, segment.probe_forgetting, segment.gradient_norm]
        assert seen == pytest.approx(shown, rel=1e-3, abs=1e-4)


def test_a_table_is_read_as_it_was_written(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "table.safetensors"
    table.save(path, {"family": "markov"})
    again = Table.load(path)
    assert all(torch.equal(getattr(table, name), getattr(again, name)) for name in vars(table))
    assert Table.about(path)["family"] == "markov"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# ---- lessons


def test_a_lesson_is_a_window_of_the_table(table: Table) -> None:
    weights = torch.tensor([0.0, 0.5, 1.0])
    starts = torch.tensor([0, 2, 4])
    drawn = lesson(table, starts, weights)
    for k in range(3):
        objective = {}
        for o, octave in enumerate(OCTAVES):
            for c in range(CELLS):
                w, m = divmod(c, len(BATCH_MULTIPLES))
                loss, forgotten = float(table.loss[k, o, w, m]), float(table.forgetting[k, o, w, m])
                lost = math.isinf(loss)
                objective[octave, c] = math.inf if lost else loss + float(weights[k]) * forgotten
        base, best = float(table.base_loss[k]), min(objective.values())
        for level in range(RAMP_LEVELS):
            octave = RAMP_STARTS[int(starts[k])] + level
            for c in range(CELLS):
                gain = (base - objective[octave, c]) / base
                regret = min(1.0, (objective[octave, c] - best) / max(base - best, 0.02 * base))
                assert float(drawn.gains[k, level, c]) == pytest.approx(gain, abs=1e-4)
                if base - best > 0.02 * base:
                    assert float(drawn.regrets[k, level, c]) == pytest.approx(regret, abs=1e-3)
        assert bool(drawn.worth[k]) == (base - best > 0.02 * base)


def situation(table: Table, seed: int = 0) -> Sight:
    random = torch.Generator().manual_seed(seed)
    return with_history(drawn_lesson(table, random), random)


def test_situations_are_drawn_with_histories_and_without() -> None:
    random = torch.Generator().manual_seed(0)
    drawn = drawn_lesson(made_up(400), random)
    sight = with_history(drawn, random)
    trials = (~sight.gains.isnan()).flatten(1).sum(1)
    assert trials.min() == 0
    assert trials.max() == fitting.HISTORY
    tried = torch.where(sight.gains.isnan(), torch.nan, drawn.regrets)
    assert float(tried.nanmean()) < float(drawn.regrets.mean())  # more of them are good
    blind = sight.ramps[..., 0].isnan().all(1).float().mean()
    assert 0.05 < float(blind) < 0.3
    assert drawn.worth.all()
    assert set(sight.left.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_what_exploded_is_in_histories_as_the_worst() -> None:
    table = made_up(400)
    lost = replace(table, loss=torch.full_like(table.loss, torch.inf))
    lost.loss[:, 0, 0, 0] = 1.0
    sight, other = situation(lost), situation(table)
    trials, others = ((~s.gains.isnan()).flatten(1).sum(1) for s in (sight, other))
    assert torch.equal(trials, others)
    assert sight.gains.isneginf().any()


def test_a_network_learns_to_see_the_best_rate_in_a_ramp() -> None:
    network, error = fit(made_up(200), seed=1, steps=250)
    known = drawn_lesson(made_up(400), torch.Generator().manual_seed(2)).regrets.clamp(
        max=fitting.WORST
    )
    assert error < float(known.var((0, 1)).mean())  # that of the best constants
    values = Values(1)
    values.networks[0] = network
    fresh = made_up(100, seed=7)
    first = replay(values, fresh, 1)[:, 0]
    assert float(first.mean()) < 0.5 * float(default_regret(fresh).mean())


def test_the_same_seed_fits_the_same_network() -> None:
    table = made_up(30)
    one, two, other = (fit(table, seed=seed, steps=5)[0] for seed in (1, 1, 2))
    weights = [
        torch.cat([p.flatten() for p in network.parameters()]) for network in (one, two, other)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_replay_never_tries_a_cell_twice_and_keeps_the_best(table: Table) -> None:
    torch.manual_seed(0)
    regrets = replay(Values(1).eval(), table, 20)
    assert (regrets[:, 1:] <= regrets[:, :-1]).all()
    whole = replay(Values(1).eval(), table, RAMP_LEVELS * CELLS)
    drawn = lesson(table, torch.full((3,), RAMP_STARTS.index(-6)), table.forgetting_weight)
    least = drawn.regrets.flatten(1).min(1).values[drawn.worth]
    assert torch.allclose(whole[:, -1], least)


def test_a_portfolio_is_what_does_best_together() -> None:
    """Brute force over the first two, on tasks whose best rates differ."""
    tasks = made_up(60)
    (first, *_), second = portfolio(tasks, 2, seed=5)
    starts = torch.randint(len(RAMP_STARTS), (60,), generator=torch.Generator().manual_seed(5))
    regrets = lesson(tasks, starts, tasks.forgetting_weight).regrets.clamp(max=1.0)
    means = regrets.mean(0)
    assert float(means[first + 6].min()) == pytest.approx(float(means.min()), abs=1e-6)
    together = [
        float(torch.minimum(regrets[:, first + 6, 0], regrets[:, level, 0]).mean())
        for level in range(RAMP_LEVELS)
    ]
    assert together[second[0] + 6] == pytest.approx(min(together), abs=1e-6)
