"""What the default configuration is worth beside the same with other values, task by task.

    python benchmarks/default.py FILE.jsonl divergence_weight=0.1 [TASK ...] [--seeds 3]

A line of FILE is a trial; what it has is not run again. Trials are paired by their seeds, and held
in the shape of the default: 3% warm-up, linear decay.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hpopt.settings.parsing import parse_values
from hpopt.wording import describe
from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.tasks.suite import BUILT_IN
from hpopt_search_spaces import Value

Values = Mapping[str, Value]


def trial_of(env: FineTuneEnv, changed: Values, seed: int) -> dict[str, Any]:
    """Return what comes of a trial of the default with some values changed."""
    values = env.space.defaults() | dict(changed)
    env.reset(seed=seed)
    while (trial := env.train({**HELD_SHAPE, **env.facts.fixed, **values})[4].get("trial")) is None:
        pass
    return {
        "task": env.facts.task,
        "trial_tokens": env.facts.trial_tokens,
        "values": values,
        "seed": seed,
        "value": trial.value,
        "outcome": trial.outcome.value,
        "metrics": dict(trial.segments[-1].metrics),
    }


def rows(file: Path, task: str, changed: Values, seeds: int, tokens: int | None) -> Iterator[str]:
    """Yield the line of a task, where its space has what is changed."""
    env = make_env(task, trial_tokens=tokens, validate_segments=False)
    if any(name not in env.space for name in changed):
        return
    lines = file.read_text().splitlines() if file.exists() else []
    known = [json.loads(line) for line in lines]
    found: list[list[float]] = []
    for change in (changed, {}):
        found.append([])
        for seed in range(seeds):
            wanted = {
                "task": task,
                "trial_tokens": env.facts.trial_tokens,
                "values": env.space.defaults() | dict(change),
                "seed": seed,
            }
            row = next((r for r in known if wanted.items() <= r.items()), None)
            if row is None:
                row = trial_of(env, change, seed)
                with file.open("a") as log:
                    log.write(json.dumps(row) + "\n")
            found[-1].append(float("inf") if row["value"] is None else row["value"])
    others, ours = found
    differences = [one - other for one, other in zip(ours, others, strict=True)]
    default = describe({name: env.space.defaults()[name] for name in changed})
    yield (
        f"| {task} | {mean(others):.3f} | {default} | {mean(ours):.3f} | "
        f"{mean(differences):+.3f} ± {stdev(differences):.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("changed", type=parse_values, metavar="NAME=VALUE,...")
    parser.add_argument("tasks", nargs="*", default=list(BUILT_IN))
    parser.add_argument("--trial-tokens", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error("--seeds: must be at least 2, so that their differences have a spread")
    print("| task | changed | the default's value | default | paired difference |")
    print("| --- | --- | --- | --- | --- |")
    for task in asked.tasks:
        for line in rows(asked.file, task, asked.changed, asked.seeds, asked.trial_tokens):
            print(line, flush=True)


if __name__ == "__main__":
    main()
