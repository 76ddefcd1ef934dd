"""The range test stays inside whatever space it is given, and trains nothing twice."""

import random
from dataclasses import replace
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.searchers.registry import check_space, choose_agent
from hpopt_envs.schedules import AGENT_SHAPE
from hpopt_search_spaces import SearchSpace, available_spaces, load_space
from tests.displaced import displaced
from tests.hpopt.searchers.range_testing import DEFAULT, MakePool, run


def random_space(seed: int) -> dict[str, Any]:
    """A space with a learning rate that may move, and some of what else a run takes."""
    draw = random.Random(seed)
    octaves = (draw.uniform(0, 7), draw.uniform(0.1, 7))
    default = DEFAULT * 10 ** draw.uniform(-3, 2)
    rate = {"type": "float", "log": True, "dynamic": True, "default": default}
    rate |= {"low": default / 2 ** octaves[0], "high": default * 2 ** octaves[1]}
    size = {"type": "integer", "powers_of_two": True, "low": 4, "dynamic": draw.random() < 0.5}
    size |= {"high": draw.choice([8, 64]), "default": draw.choice([4, 8])}
    warmup = {"type": "float", "low": draw.choice([0.0, 0.02]), "high": 0.2, "default": 0.1}
    shape = {"type": "choice", "default": "linear"}
    shape |= {"choices": draw.choice([["linear", "cosine"], ["constant", "linear"]])}
    final = {"type": "float", "low": 0.0, "high": 0.5, "default": 0.1}
    final["active_when"] = {"schedule_shape": ["linear"]}
    weight = {"type": "float", "log": True, "zero": True, "low": 0.02, "high": 5, "default": 0.02}
    beside = {"divergence_weight": weight, "warmup_fraction": warmup}
    names = [name for name in beside if draw.random() < 0.5]
    parts = {"learning_rate": rate, "batch_size": size} | {name: beside[name] for name in names}
    if draw.random() < 0.5:
        parts |= {"schedule_shape": shape, "final_fraction": final}
    return {"name": "random", "parameters": [{"name": n} | p for n, p in parts.items()]}


SHIPPED = [
    name
    for name, _ in available_spaces()
    if "divergence_weight" in (space := load_space(name)) or "divergence" not in space
]


@pytest.mark.parametrize("space", [*SHIPPED, *map(random_space, range(30))])
@pytest.mark.parametrize("off", [1e-3, 1.0, 1e2])
def test_all_that_it_trains_is_in_the_space_and_nothing_is_trained_twice(
    space: Any, off: float, make_pool: MakePool
) -> None:
    space = displaced({"learning_rate": off * DEFAULT}, space)
    pool = run(make_pool, trials=3, trial_tokens=16384, space=space)
    held = []
    for trial in pool.trials:
        for segment in trial.segments:
            asked = dict(segment.hyperparameters)
            known = {name: value for name, value in asked.items() if name in pool.space}
            pool.space.validate(known)
            assert set(pool.space.snap(known)) == set(known)  # none that is switched off
            assert set(AGENT_SHAPE) <= set(asked)
        if trial.id > 0:
            held.append(dict(trial.segments[0].hyperparameters))
    assert held[0] not in held[1:]
    still = [p.name for p in pool.space.parameters if not p.dynamic]
    for trial in pool.trials:  # what isn't dynamic is one value a trial
        for name in still:
            assert len({s.hyperparameters.get(name) for s in trial.segments}) == 1


def test_a_rate_that_is_not_always_there_is_refused() -> None:
    plain = load_space("plain")
    (rate,) = (p for p in plain.parameters if p.name == "learning_rate")
    others = [p for p in plain.parameters if p is not rate]
    size = next(p for p in others if p.name == "batch_size")
    sometimes = replace(rate, active_when={"batch_size": (size.from_unit(0.0),)})
    space = SearchSpace("sometimes", (*others, sometimes))
    with pytest.raises(StudyError, match="no active_when, but 'sometimes' has none"):
        check_space("range-test", space, has_probe=True)
    assert choose_agent("auto", "none", space) == "tpe"


def test_a_fixed_shape_is_every_trials(make_pool: MakePool) -> None:
    pool = run(make_pool, trials=2, trial_tokens=16384, fixed={"schedule_shape": "cosine"})
    shapes = {s.hyperparameters["schedule_shape"] for t in pool.trials for s in t.segments}
    assert shapes == {"cosine"}
