"""All searchers on one task with one budget: best values, with their spread, as a table.

    python benchmarks/searchers.py FOLDER [--parallel 2] [--seeds 3] [SEARCH OPTIONS ...]

Each study is a `python -m hpopt search` of its own, `--parallel` of them at a time. What is
finished in FOLDER is not run again.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hpopt.searchers import AGENTS

PRUNED = (("tpe", "median"), ("tpe", "hyperband"), ("tpe", "successive-halving"))
SEARCHERS = [*((agent, "none") for agent in AGENTS), *PRUNED]


def run_study(folder: Path, name: str, options: list[str]) -> dict[str, Any]:
    """Run a study, or take what it came to before; return what is in its result.json."""
    result = folder / name / "result.json"
    if not result.exists():
        started = (folder / name / "journal.jsonl").exists()
        command = ["resume", name] if started else ["search", "--name", name, *options]
        arguments = [sys.executable, "-m", "hpopt", *command, "--runs", str(folder)]
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads(result.read_text())
    return summary


def run(folder: Path, agent: str, pruner: str, seed: int, options: list[str]) -> dict[str, Any]:
    own = ["--agent", agent, "--pruner", pruner, "--seed", str(seed)]
    return run_study(folder, f"{agent}-{pruner}-{seed}", [*options, *own])


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def row(agent: str, pruner: str, results: list[dict[str, Any]]) -> str:
    name = agent if pruner == "none" else f"{agent} + {pruner}"
    best = [result["best_value"] for result in results]
    cells = [name, spread(best), f"{min(best):.3f}–{max(best):.3f}"]
    tests = [mean(r["test"]["winner"]["values"]) for r in results if "test" in r]
    cells += [spread(tests) if tests else "–"]
    cells += [f"{mean(r['trials'] for r in results):.0f}"]
    cells += [f"{mean(r['training_tokens'] for r in results) / 1000:,.0f}"]
    cells += [f"{mean(r['search_cost'] for r in results) / 1000:,.0f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    asked, options = parser.parse_known_args()  # the rest is for `hpopt search`
    jobs: list[tuple[str, str, int]] = [
        (agent, pruner, seed) for seed in range(asked.seeds) for agent, pruner in SEARCHERS
    ]
    jobs.sort(key=lambda job: job[1] != "none")  # so that a table cut short has all agents
    with ThreadPoolExecutor(asked.parallel) as threads:
        results = list(
            threads.map(lambda job: run(asked.folder, job[0], job[1], job[2], options), jobs)
        )
    found = dict(zip(jobs, results, strict=True))
    rows = [
        (mean(r["best_value"] for r in mine), row(agent, pruner, mine))
        for agent, pruner in SEARCHERS
        for mine in [[found[agent, pruner, seed] for seed in range(asked.seeds)]]
    ]
    print("| searcher | best on validation | range | winner on test | trials | k tokens | k cost |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(text for _, text in sorted(rows)))


if __name__ == "__main__":
    main()
