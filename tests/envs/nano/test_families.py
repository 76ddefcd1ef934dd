"""What is drawn from a seed, and what users may write."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hpopt_envs import WorldError
from hpopt_envs.nano.families import SIZES, draw_family, named_families, read_task
from hpopt_envs.nano.sources import SOURCES, Source, draw_source

FAMILIES = named_families()


@pytest.mark.parametrize("name", ["nano:markov", "nano:markov:0", "nano:12", "nano:12:3"])
def test_a_name_says_which_task_it_is(name: str) -> None:
    task = read_task(name)
    assert task == read_task(task.name)
    assert task.name.startswith(name)


def test_the_page_has_every_family() -> None:
    page = (Path(__file__).parents[3] / "docs" / "nano.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == list(FAMILIES)


def test_tasks_of_a_family_differ_and_their_shape_does_not() -> None:
    tasks = [FAMILIES["attention"].task(seed) for seed in range(40)]
    assert len({task.scale for task in tasks}) == 40
    assert {task.source for task in tasks} == set(SOURCES)
    assert {task.part for task in tasks} == set(FAMILIES["attention"].parts)
    weights = [task.forgetting_weight for task in tasks]
    assert 0.0 in weights
    assert max(weights) > 0.5
    assert len({task.family.architecture for task in tasks}) == 1


def test_families_are_drawn_widely() -> None:
    families = [draw_family(seed) for seed in range(200)]
    sizes = [family.architecture.parameters for family in families]
    assert min(sizes) < 1.5 * SIZES[0]
    assert max(sizes) > SIZES[1] / 1.5
    assert {family.horizon for family in families} == {64, 128, 256, 512, 640, 1_024, 2_048}
    for one_of in ("attention", "classes", "rank"):
        values = [getattr(f.architecture if one_of == "attention" else f, one_of) for f in families]
        assert 0.05 < np.mean([bool(value) for value in values]) < 0.5, one_of


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nano:markow", "must be markov, .* but got 'nano:markow'"),
        ("nano:", "must be markov, .* but got 'nano:'"),
        ("nano:-1", "must be markov, .* but got 'nano:-1'"),
        ("nano:markov:x", "the seed of a nano task must be a whole number, but got"),
        ("nano:markov:1:2", "the seed of a nano task must be a whole number, but got"),
    ],
)
def test_what_is_no_task_is_refused(name: str, says: str) -> None:
    with pytest.raises(WorldError, match=says):
        read_task(name)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_is_the_same_again_and_near_where_it_hardly_moved(kind: str) -> None:
    def random() -> np.random.Generator:
        return np.random.default_rng(1)

    source = draw_source(kind, 40, random())
    for split in ("train", "validation", "test"):
        tokens = source.sample(random(), 5_000, split)
        assert tokens.shape == (5_000,)
        assert tokens.min() >= 0
        assert tokens.max() < 40
        again = draw_source(kind, 40, random()).sample(random(), 5_000, split)
        np.testing.assert_array_equal(tokens, again)

    def pairs(one: Source) -> NDArray[np.float64]:
        tokens = one.sample(np.random.default_rng(2), 40_000, "train")
        counts = np.bincount(tokens[1:] * 40 + tokens[:-1], minlength=1_600)
        return np.asarray(counts / counts.sum())

    moved = (source.moved(np.random.default_rng(3), distance) for distance in (0.05, 1.0))
    near, far = map(pairs, moved)
    own = pairs(source)
    assert np.abs(near - own).sum() < np.abs(far - own).sum()


def test_a_wider_range_is_drawn_from() -> None:
    few = replace(FAMILIES["markov"], examples=(8, 16))
    assert {few.task(seed).examples for seed in range(60)} == set(range(8, 17))
