"""Training side by side: the same as alone, and what fine-tuning is known for."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from hpopt_envs import WorldError
from hpopt_envs.nano.families import Family, NanoTask, draw_family, named_families
from hpopt_envs.nano.measures import Losses
from hpopt_envs.nano.world import Lanes, World
from hpopt_search_spaces import Value

FAMILIES = named_families()
PLAIN = replace(
    FAMILIES["templates"],
    optimizers=("adamw",),
    parts=("all",),
    spread=(0.0, 0.0),
    pretraining=(300, 300),
    untrained=0.0,
    noise=(0.0, 0.0),
    examples=(1_000, 1_000),
)


def tokens(world: World) -> int:
    return world.tasks[0].family.horizon * 4 * world.form.tokens


def trained(
    world: World, asked: Sequence[dict[str, Value]], segments: int = 1, **other: Value
) -> Lanes:
    lanes = world.start(range(len(world.tasks)))
    held = {"batch_size": 4, "learning_rate": 0.01, "divergence_weight": 0.0, **other}
    whole = [
        {**held, "optimizer": t.optimizer, **a} for t, a in zip(world.tasks, asked, strict=True)
    ]
    for number in range(segments):
        numbers = [number] * len(world.tasks)
        world.train(lanes, whole, numbers, tokens(world) // segments, tokens(world))
    return lanes


def measured(world: World, lanes: Lanes) -> Losses:
    return world.evaluate(lanes, "validation", 256)


def several(family: Family, count: int = 4) -> list[NanoTask]:
    return [family.task(seed) for seed in range(count)]


ASKED: list[dict[str, Value]] = [
    {"learning_rate": 0.02, "batch_size": 8},
    {"learning_rate": 0.005, "divergence_weight": 0.5},
    {"learning_rate": 0.01, "batch_size": 16, "divergence_weight": 1.0},
    {"learning_rate": 0.003, "schedule_shape": "linear", "warmup_fraction": 0.1},
]


@pytest.mark.parametrize("name", ["markov", "attention", "classify", "low-rank"])
def test_tasks_side_by_side_are_what_they_are_alone(name: str) -> None:
    tasks = several(replace(FAMILIES[name], horizon=64))
    together = World(tasks)
    lanes = trained(together, ASKED, segments=2)
    for k, task in enumerate(tasks):
        alone = World([task])
        torch.testing.assert_close(alone.base[0], together.base[k], rtol=0, atol=0)
        own = alone.start([k])
        held = {"batch_size": 4, "divergence_weight": 0.0, "optimizer": task.optimizer, **ASKED[k]}
        for number in range(2):
            alone.train(own, [held], [number], tokens(alone) // 2, tokens(alone))
        torch.testing.assert_close(own.weights[0], lanes.weights[k], rtol=1e-4, atol=1e-5)
        apart, beside = measured(alone, own), measured(together, lanes)
        torch.testing.assert_close(apart.target[0], beside.target[k], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(apart.divergence[0], beside.divergence[k], rtol=1e-4, atol=1e-5)


def test_a_batch_is_the_mean_of_its_micro_batches() -> None:
    tasks = [PLAIN.task(0)] * 2
    world = World(tasks)
    whole, cut = world.start([5, 5]), world.start([5, 5])
    came = [
        world.train(lanes, asked, [0, 0], tokens(world), tokens(world))
        for lanes, asked in (
            (whole, [{"batch_size": 8, "learning_rate": 0.01}] * 2),
            (cut, [{"batch_size": size, "learning_rate": 0.01} for size in (8, 4)]),
        )
    ]
    torch.testing.assert_close(whole.weights[0], cut.weights[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(came[0].norm[0], came[1].norm[0])
    assert came[1].steps.tolist() == [32, 64]


def test_too_high_a_rate_explodes_and_harms_no_other() -> None:
    world = World([replace(PLAIN.task(0), optimizer="sgd")] * 3)
    lanes = world.start([0, 0, 0])
    asked: list[dict[str, Value]] = [
        {"batch_size": 4, "learning_rate": rate, "optimizer": "sgd"} for rate in (0.1, 1e6, 0.1)
    ]
    came = world.train(lanes, asked, [0] * 3, tokens(world), tokens(world))
    base = measured(world, world.start([0, 0, 0])).target
    assert came.exploded(4 * base).tolist() == [False, True, False]
    left = measured(world, lanes).target
    assert left[0] < base[0]
    torch.testing.assert_close(left[0], left[2])


def test_training_learns_the_target_and_forgets_the_more_the_higher_the_rate() -> None:
    world = World(several(PLAIN))
    base = measured(world, world.start(range(4)))
    risen = []
    for rate in (0.001, 0.01, 0.1):
        after = measured(world, trained(world, [{"learning_rate": rate}] * 4))
        risen.append(float(after.forgetting.mean()))
        if rate == 0.01:
            assert (after.target < base.target - 0.1).all()
    assert 0 < risen[0] < risen[1] < risen[2]
    assert base.forgetting.abs().max() < 1e-5


def test_a_penalty_pulls_divergence_down() -> None:
    world = World(several(PLAIN))
    diverged = [
        measured(world, trained(world, [{"divergence_weight": weight}] * 4)).divergence
        for weight in (0.0, 0.3, 3.0)
    ]
    assert (diverged[0] > diverged[1]).all()
    assert (diverged[1] > diverged[2]).all()
    assert (diverged[2] > 0).all()


def test_a_tiny_training_set_is_learned_by_heart() -> None:
    few = replace(PLAIN, examples=(8, 8), noise=(0.5, 0.5), horizon=256)
    world = World(several(few))
    lanes, early = trained(world, [{}] * 4), world.start(range(4))
    world.train(early, [{"batch_size": 4, "learning_rate": 0.01}] * 4, [0] * 4, 256, tokens(world))
    assert (world.probe(lanes)[0] < 0.5 * world.probe(early)[0]).all()
    assert (measured(world, lanes).target > measured(world, early).target).all()


@pytest.mark.parametrize("part", ["head", "embeddings", "body"])
def test_what_is_frozen_stays(part: str) -> None:
    world = World(several(replace(PLAIN, parts=(part,))))
    lanes = trained(world, [{"divergence_weight": 0.3, "weight_decay": 0.1}] * 4)
    moved = world.architecture.cut((lanes.weights != world.base).float())
    for name, block in world.architecture.blocks.items():
        assert bool(moved[name].any()) == (block.part == part), name
    assert (
        world.part.counts
        == [sum(b.end - b.begin for b in world.architecture.blocks.values() if b.part == part)] * 4
    )


def test_adapters_change_products_of_their_rank() -> None:
    world = World(several(replace(PLAIN, rank=2)))
    lanes = trained(world, [{}] * 4)
    change = world.architecture.cut(lanes.weights - world.base)
    assert not change["tokens"].any()
    assert torch.linalg.matrix_rank(change["inner"], atol=1e-4).tolist() == [2] * 4
    assert (measured(world, lanes).target < measured(world, world.start(range(4))).target).all()


def test_a_larger_scale_is_a_higher_rate() -> None:
    task = replace(PLAIN.task(0), block_scales=dict.fromkeys(PLAIN.task(0).block_scales, 1.0))
    world = World([task, replace(task, scale=2.0)])
    lanes = world.start([0, 0])
    # Adam's steps don't depend on the scale of gradients, unless they are clipped.
    held: dict[str, Value] = {"batch_size": 4, "optimizer": "adam", "max_gradient_norm": 1e9}
    asked = [{**held, "learning_rate": rate} for rate in (0.02, 0.01)]
    world.train(lanes, asked, [0, 0], tokens(world), tokens(world))
    torch.testing.assert_close(lanes.weights[0], lanes.weights[1], rtol=1e-3, atol=1e-3)


def test_tasks_of_other_shapes_have_worlds_of_their_own() -> None:
    with pytest.raises(WorldError, match="another shape"):
        World([FAMILIES["markov"].task(0), FAMILIES["attention"].task(0)])


def test_what_is_drawn_is_trained() -> None:
    for seed in range(6):
        family = replace(draw_family(seed), horizon=64)
        world = World(several(family, 2))
        lanes = trained(world, [{"learning_rate": 1e-3}] * 2)
        assert measured(world, lanes).target.isfinite().all()
