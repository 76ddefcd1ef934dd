"""What trials return to random actions, to the default held, and to the best that is held.

    python benchmarks/returns.py [TASK] [--seeds 20] [--look 4]

Held values keep the constant rate that actions have. The best are those of a grid, octaves of what
has a scale, by their mean over `--look` seeds; what they return is measured on fresh ones.
"""

import argparse
import itertools
from collections.abc import Iterable, Iterator, Mapping
from statistics import mean, stdev

from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.episode.actions import VIEWS
from hpopt_envs.schedules import AGENT_SHAPE
from hpopt_search_spaces import ChoiceParameter, IntegerParameter, Parameter, Value

Values = Mapping[str, Value]


def random_return(env: FineTuneEnv, seed: int) -> float:
    """Return the sum of a trial's rewards where actions are drawn from their space."""
    env.reset(seed=seed)
    returned, ended = 0.0, False
    while not ended:
        _, reward, ended, _, _ = env.step(env.action_space.sample())
        returned += reward
    return returned


def held_return(env: FineTuneEnv, values: Values, seed: int) -> float:
    """Return the sum of a trial's rewards where values are held."""
    env.reset(seed=seed)
    returned, ended = 0.0, False
    while not ended:
        _, reward, ended, _, _ = env.train({**AGENT_SHAPE, **env.facts.fixed, **values})
        returned += reward
    return returned


def levels(parameter: Parameter) -> list[Value]:
    """Return a parameter's choices, or its default and what lies whole octaves from it."""
    if isinstance(parameter, ChoiceParameter):
        return list(parameter.choices)
    assert parameter.default != "auto"  # the space is resolved
    kind: type[float] | type[int] = int if isinstance(parameter, IntegerParameter) else float
    octaves = [parameter.default * 2.0**k for k in range(-12, 13)]
    found: list[Value] = [kind(v) for v in octaves if parameter.contains(kind(v)) and v == kind(v)]
    return [0.0, *found] if getattr(parameter, "zero", False) else found


def best_held(env: FineTuneEnv, seeds: Iterable[int]) -> Values:
    """Return the cell of the grid with the best mean return."""
    seeds = list(seeds)

    def cells() -> Iterator[Values]:
        for cell in itertools.product(*(levels(p) for p in env.space.parameters)):
            yield dict(zip(env.space.names, cell, strict=True))

    return max(cells(), key=lambda values: mean(held_return(env, values, s) for s in seeds))


def row(what: str, returns: list[float]) -> str:
    """Return a row of the table: mean, its standard error, the worst, the best."""
    error = stdev(returns) / len(returns) ** 0.5
    ends = f"{min(returns):.2f} | {max(returns):.2f}"
    return f"| {what} | {mean(returns):.2f} ± {error:.2f} | {ends} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", default="simulated")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--look", type=int, default=4)
    asked = parser.parse_args()
    print("| actions | return | least | most |\n| --- | --- | --- | --- |")
    for view in VIEWS:
        env = make_env(asked.task, view=view)
        env.action_space.seed(0)
        returns = [random_return(env, seed) for seed in range(asked.seeds)]
        print(row(f"random, {view}", returns), flush=True)
    env = make_env(asked.task, validate_segments=False)
    best = best_held(env, range(10_000, 10_000 + asked.look))
    told = ", ".join(f"{name}={value}" for name, value in best.items())
    for what, values in (("the default held", env.space.defaults()), (f"{told} held", best)):
        print(
            row(what, [held_return(env, values, seed) for seed in range(asked.seeds)]), flush=True
        )


if __name__ == "__main__":
    main()
