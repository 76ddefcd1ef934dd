"""How many nano trials a core trains in a second, and where their best hyperparameters lie.

    python benchmarks/nano.py speed [--family markov] [--tasks 64]
    python benchmarks/nano.py rates [--family NAME] [--tasks 64]
    python benchmarks/nano.py traces lm,simulated,nano:markov,...

`speed` has one thread, counts its processor's time, and sets beside it the bare matrix products of
the same forward and backward passes, measured in turns with the trials: whole trials with one
configuration each, their final validation included; and trials of the vector environment, which
validates after each of 16 segments and takes random actions. `rates` says by family, in octaves
from the default, where the best learning rates of a grid lie, and which divergence weights are
best; and how many of the runs exploded at which distance. `traces` sets tasks of all worlds side by
side: how the default's trial goes, and what four octaves more or less come to.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.nano.facts import study_of
from hpopt_envs.nano.families import NanoTask, draw_family, named_families
from hpopt_envs.nano.vector import NanoVectorEnv
from hpopt_envs.nano.world import World
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.settings import EnvironmentSettings
from hpopt_envs.worlds import world_of
from hpopt_search_spaces import Value

ROUNDS = 5
OCTAVES = range(-7, 6)
WEIGHTS = (0.0, 0.3, 1.5)


def tasks_of(family: str, count: int) -> list[NanoTask]:
    found = draw_family(int(family)) if family.isdecimal() else named_families()[family]
    return sorted((found.task(seed) for seed in range(count)), key=lambda task: task.optimizer)


class Statics:
    """Whole trials of all tasks of a world, each with one configuration."""

    def __init__(self, tasks: Sequence[NanoTask]) -> None:
        self.world, self.count = World(tasks), len(tasks)
        base = self.world.start([0] * len(tasks))
        asked = EnvironmentSettings(task=tasks[0].name)
        self.studies = [study_of(self.world, k, base, asked) for k in range(len(tasks))]

    def train(self, octave: float = 0.0, **said: Value) -> tuple[torch.Tensor, torch.Tensor]:
        """Objectives, infinite for what exploded; and base objectives."""
        facts = self.studies[0].facts
        asked = []
        for study in self.studies:
            own = {**HELD_SHAPE, **study.facts.fixed, **study.space.defaults(), **said}
            asked.append({**own, "learning_rate": float(own["learning_rate"]) * 2.0**octave})
        lanes = self.world.start([0] * self.count)
        came = self.world.train(
            lanes, asked, [0] * self.count, facts.trial_tokens, facts.trial_tokens
        )
        losses = self.world.evaluate(lanes, "validation", self.studies[0].whole)
        weights = torch.tensor([study.facts.forgetting_weight for study in self.studies])
        objective = losses.target + weights * losses.forgetting
        limits = torch.tensor([study.facts.exploded_loss for study in self.studies])
        lost = came.exploded(limits) | ~objective.isfinite()
        base = torch.tensor([study.facts.base_objective for study in self.studies])
        return torch.where(lost, torch.inf, objective), base


def products(statics: Statics, batch: int) -> Callable[[], None]:
    """The matrix products of whole trials of a model without attention, and nothing else."""
    shape, form = statics.world.architecture, statics.world.form
    facts = statics.studies[0].facts
    steps = facts.trial_tokens // form.tokens // batch
    positions = batch * form.targets + batch // 2 * form.retained_targets
    inputs = shape.context * shape.width
    seen, hidden = (torch.randn(statics.count, positions, n) for n in (inputs, shape.hidden))
    first = torch.randn(statics.count, inputs, shape.hidden)
    second = torch.randn(statics.count, shape.hidden, shape.vocabulary)
    back = torch.randn(statics.count, positions, shape.vocabulary)

    def multiply() -> None:
        for _ in range(steps):
            torch.bmm(seen, first)
            torch.bmm(hidden, second)
            torch.bmm(back, second.transpose(1, 2))
            torch.bmm(hidden.transpose(1, 2), back)
            torch.bmm(hidden, first.transpose(1, 2))
            torch.bmm(seen.transpose(1, 2), hidden)

    return multiply


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def speed(family: str, count: int) -> None:
    tasks = tasks_of(family, count)
    statics = Statics(tasks)
    shape = statics.world.architecture
    print(
        f"{family}: {count} tasks of {shape.parameters:,} parameters, "
        f"{tasks[0].family.horizon} steps of batch 4"
    )
    env = NanoVectorEnv(tasks, view="absolute")
    env.reset(seed=0)
    env.action_space.seed(0)

    def episodes() -> None:
        for _ in range(statics.studies[0].facts.segments):
            actions = env.action_space.sample()
            actions[:, -1] = -1.0  # no trial is stopped
            env.step(actions)

    works: dict[str, Callable[[], object]] = {
        "trials, batch 4": lambda: statics.train(batch_size=4),
        "trials, the default's batch": lambda: statics.train(),
        "trials of the environment, validated 16 times": episodes,
    }
    if not shape.attention:
        works["bare products of the first row"] = products(statics, 4)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            taken[name].append(seconds(work))
    best = {name: min(own) for name, own in taken.items()}
    for name, own in best.items():
        print(f"  {name}: {count / own:,.0f} a second, {own * 1e3 / count:.2f} ms each")
    if not shape.attention:
        ratio = best["trials, batch 4"] / best["bare products of the first row"]
        print(f"  a trial over its bare products: {ratio:.1f}")


def rates(families: Sequence[str], count: int) -> None:
    for family in families:
        statics = Statics(tasks_of(family, count))
        grid = []
        for octave in OCTAVES:
            for weight in WEIGHTS:
                objective, base = statics.train(octave, divergence_weight=weight)
                grid.append(objective)
        values = torch.stack(grid).view(len(OCTAVES), len(WEIGHTS), count).numpy()
        gain = base.numpy() - values.min((0, 1))
        kept = gain > 0.05
        if not kept.any():
            print(f"{family}: nothing to learn")
            continue
        best = values[:, :, kept].min(1).argmin(0) + OCTAVES[0]
        weights = np.bincount(values[:, :, kept].min(0).argmin(0), minlength=len(WEIGHTS))
        exploded = np.isinf(values).mean((1, 2))
        at = " ".join(f"{share:.0%}" for share in exploded[-6:])
        print(
            f"{family}: best rate {best.mean():+.1f} octaves, sd {best.std():.1f}; "
            f"gain {np.median(gain):.2f} nats, above 0.05 in {kept.mean():.0%}; best weight "
            + ", ".join(
                f"{w:g}: {n / kept.sum():.0%}" for w, n in zip(WEIGHTS, weights, strict=True)
            )
            + f"; exploded at 0 to +5: {at}"
        )


def traces(tasks: Sequence[str]) -> None:
    print(
        "improvement: of the default's trial at 1/4, 1/2 and 3/4, as shares of its end; at the end,"
    )
    print("as a share of the base objective, at the default's rate and four octaves beside it")
    for name in tasks:
        env = make_env(name, trial_tokens=32_768 if world_of(name).trains else None)
        path = held(env, 0)
        size = len(path) // 4
        end, base = path[-1], env.facts.base_objective
        early = [path[size * part - 1] / end if end else np.nan for part in (1, 2, 3)]
        beside = [held(env, octave)[-1] / base for octave in (-4, 4)]
        forgotten = env.trial.segments[-1].metrics.get("forgetting", np.nan)
        print(
            f"{name}: {' '.join(f'{share:.2f}' for share in early)}; "
            f"{beside[0]:+.2f} {end / base:+.2f} {beside[1]:+.2f}; forgotten at +4 {forgotten:.2f}"
        )


def held(env: FineTuneEnv, octave: int) -> list[float]:
    """Improvements over a trial of the default with another rate; −inf from an explosion on."""
    env.reset(seed=0)
    values = {**HELD_SHAPE, **env.facts.fixed, **env.space.defaults()}
    values["learning_rate"] = float(values["learning_rate"]) * 2.0**octave
    found = []
    while env.trial.outcome is None:
        env.train(values)
        objective = env.trial.segments[-1].objective
        facts, ended = env.facts, env.trial.outcome is not None
        base = facts.base_objective if ended else facts.base_objective_subset
        found.append(-np.inf if objective is None else base - objective)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speed", "rates", "traces"))
    parser.add_argument("names", nargs="?", default="lm,simulated,nano:markov", help="of traces")
    parser.add_argument(
        "--family", help="markov for speed; for rates, without it, all and four drawn"
    )
    parser.add_argument("--tasks", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "speed":
        speed(asked.family or "markov", asked.tasks)
    elif asked.what == "traces":
        traces(asked.names.split(","))
    else:
        every = [*named_families(), "0", "1", "2", "3"]
        rates([asked.family] if asked.family else every, asked.tasks)


if __name__ == "__main__":
    main()
