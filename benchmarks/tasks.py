"""Where each built-in task's best learning rate lies, beside the default that "auto" gives it.

    python benchmarks/tasks.py FILE.jsonl [TASK ...] [--trial-tokens 32768]

A line of FILE is a trial; what it has is not run again. Other hyperparameters are the default
configuration's. Rates are powers of two: every second one around the default, until both ends are
worse than the best, then the two beside the best, which two further seeds then repeat.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.tasks.suite import BUILT_IN

SEEDS = 3
EXPONENTS = range(-16, 4)  # of two: the rates that are tried at all
Key = tuple[str, float, int]  # task, learning rate, seed


class Trials:
    """Runs trials, and remembers them in a file."""

    def __init__(self, file: Path, trial_tokens: int) -> None:
        self._file = file
        self._tokens = trial_tokens
        self._envs: dict[str, FineTuneEnv] = {}
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in lines]
        self.rows: dict[Key, dict[str, Any]] = {
            (row["task"], row["learning_rate"], row["seed"]): row for row in rows
        }

    def env(self, task: str) -> FineTuneEnv:
        if task not in self._envs:
            self._envs = {task: make_env(task, trial_tokens=self._tokens, validate_segments=False)}
        return self._envs[task]

    def default_rate(self, task: str) -> float:
        return float(self.env(task).space.defaults()["learning_rate"])

    def value(self, task: str, rate: float, seed: int = 0) -> float:
        """Return a trial's objective, as minimised; infinity for one that exploded."""
        if (task, rate, seed) not in self.rows:
            row = {"task": task, "learning_rate": rate, "seed": seed, **self._run(task, rate, seed)}
            self.rows[task, rate, seed] = row
            with self._file.open("a") as file:
                file.write(json.dumps(row) + "\n")
        value = self.rows[task, rate, seed]["value"]
        return math.inf if value is None else float(value)

    def _run(self, task: str, rate: float, seed: int) -> dict[str, Any]:
        env = self.env(task)
        default = env.space.defaults()
        held = HELD_SHAPE | dict(env.facts.fixed) | default | {"learning_rate": rate}
        env.reset(seed=seed)
        while (trial := env.train(held)[4].get("trial")) is None:
            pass
        return {
            "batch_size": default["batch_size"],
            "value": trial.value,
            "base": env.facts.base_objective,
            "outcome": trial.outcome.value,
            "cost": trial.cost,
            "wall_seconds": sum(segment.wall_seconds for segment in trial.segments),
            "metrics": dict(trial.segments[-1].metrics),
        }


def best_exponent(trials: Trials, task: str) -> int:
    """Return where the lowest value is."""
    start = round(math.log2(trials.default_rate(task)))
    tried = {k: trials.value(task, 2.0**k) for k in (start - 2, start, start + 2)}
    while True:
        best = min(tried, key=lambda k: tried[k])
        outer = [k for k in (best - 2, best + 2) if k not in tried and k in EXPONENTS]
        if not outer:
            break
        tried |= {k: trials.value(task, 2.0**k) for k in outer}
    tried |= {k: trials.value(task, 2.0**k) for k in (best - 1, best + 1)}
    return min(tried, key=lambda k: tried[k])


def row(trials: Trials, task: str) -> str:
    """Return a task's line of the table."""
    default, best = trials.default_rate(task), 2.0 ** best_exponent(trials, task)
    values = [trials.value(task, best, seed) for seed in range(SEEDS)]
    at_default = [trials.value(task, default, seed) for seed in range(SEEDS)]
    trial = trials.rows[task, best, 0]
    cells = [
        task,
        trial["batch_size"],
        f"{best:.2g}",
        f"{default:.2g}",
        f"{math.log2(default / best):+.1f}",
        f"{trial['base']:.3f}",
        f"{mean(values):.3f} ± {stdev(values):.3f}",
        f"{mean(at_default):.3f}",
        f"{trial['cost'] / 1000:.0f}",
        f"{trial['wall_seconds']:.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def table(trials: Trials, tasks: list[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| task | batch | best rate | default | octaves | base | best | default | k cost | s |"
    yield f"| {' | '.join(['---'] * 10)} |"
    for task in tasks:
        yield row(trials, task)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("tasks", nargs="*", default=list(BUILT_IN))
    parser.add_argument("--trial-tokens", type=int, default=32_768)
    asked = parser.parse_args()
    for line in table(Trials(asked.file, asked.trial_tokens), asked.tasks):
        print(line, flush=True)


if __name__ == "__main__":
    main()
