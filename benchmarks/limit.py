"""Whether a limit on divergence is kept on test, and what searching under it gains.

    python benchmarks/limit.py FOLDER [--parallel 2] [--seeds 10] --agent tpe [SEARCH OPTIONS ...]

The limit is the median divergence of what a random search reaches. For each seed, a search under
it is compared with a plain one, of whose trials the best that keeps the limit is taken afterwards.
What is finished in FOLDER is not run again.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import Any

from hpopt.record.history import History
from hpopt.record.journal import read_events

REACH = ["--agent", "random", "--prior", "none", "--trials", "20", "--confirm-seeds", "0"]


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


def ended(folder: Path) -> list[tuple[float, float]]:
    """Return value, as minimised, and divergence of every trial of a search that has both."""
    history = History()
    for event in read_events(folder / "journal.jsonl"):
        history.apply(event)
    return [
        (trial.value, trial.segments[-1].metrics["divergence"])
        for trial in history.trials.values()
        if trial.value is not None and trial.id not in history.tests
    ]


def compare(folder: Path, seed: int, limit: float, options: list[str]) -> tuple[str, bool, int]:
    """Run both searches.

    Returns:
        A row of the table; whether the winner's mean divergence on test is at most 1.1 times the
        limit; and 1, 0 or −1 as the search under the limit did better than the other, as well, or
        worse.
    """
    own = ["--seed", str(seed)]
    under = run_study(
        folder, f"limited-{seed}", [*options, *own, "--max-divergence", f"{limit:.6g}"]
    )
    run_study(folder, f"plain-{seed}", [*options, *own, "--confirm-seeds", "0"])
    kept = [value for value, divergence in ended(folder / f"plain-{seed}") if divergence <= limit]
    filtered = min(kept, default=None)
    best, tests = under["best_value"], under.get("test", {}).get("winner", {}).get("metrics", [])
    if best is None or not tests:
        return f"| {seed} | none | | | {filtered} |", False, -1 if kept else 0
    on_test = mean(metrics["divergence"] for metrics in tests)
    better = 1 if filtered is None or best < filtered else -1 if filtered < best else 0
    row = (
        f"| {seed} | {best:.3f} | {under['best_metrics']['divergence']:.3f} | {on_test:.3f} "
        f"| {'none' if filtered is None else f'{filtered:.3f}'} |"
    )
    return row, on_test <= 1.1 * limit, better


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=10)
    asked, options = parser.parse_known_args()  # the rest is for `hpopt search`
    run_study(asked.folder, "reach", [*options, *REACH])
    limit = median(divergence for _, divergence in ended(asked.folder / "reach"))
    with ThreadPoolExecutor(asked.parallel) as threads:
        found = list(
            threads.map(
                lambda seed: compare(asked.folder, seed, limit, options), range(asked.seeds)
            )
        )
    print(f"limit: {limit:.4f}")
    print("| seed | under the limit | its divergence | on test | plain, filtered |")
    print("| --- | --- | --- | --- | --- |")
    print("\n".join(row for row, _, _ in found))
    print(f"at most 1.1 × the limit on test: {sum(kept for _, kept, _ in found)} of {len(found)}")
    outcomes = [better for *_, better in found]
    print(
        json.dumps(
            {word: outcomes.count(n) for word, n in (("better", 1), ("equal", 0), ("worse", -1))}
        )
    )


if __name__ == "__main__":
    main()
