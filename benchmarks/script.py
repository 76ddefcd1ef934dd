"""What hpopt costs around a script that does nothing, beside Optuna's own loop over the same one.

    python benchmarks/script.py [--trials 100] [--rounds 3]

The script is a shell that prints the value. Each round runs the processes alone, Optuna with
`subprocess.run`, and a study of hpopt, with the same sampler (TPE) and seed, one after the other. A
study counts from its first decision to its last reply, as its journal has them, its record in
MLflow being written beside it. Told are milliseconds a trial, medians over the rounds.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import optuna

import hpopt
from hpopt.record.journal import read_events

ARGUMENTS = ("sh", "-c", 'echo "value=$0"')
COMMAND = "sh -c 'echo \"value=$0\"' {learning_rate}"
LOW, HIGH = 1e-5, 1e-1
SPACE = f"""
[parameters.learning_rate]
type = "float"
log = true
low = {LOW}
high = {HIGH}
default = 1e-3
"""


def value_of(rate: float) -> float:
    done = subprocess.run([*ARGUMENTS, str(rate)], capture_output=True, text=True, check=True)
    return float(done.stdout.partition("=")[2])


def alone(trials: int) -> float:
    """Seconds of the processes alone."""
    started = time.perf_counter()
    for _ in range(trials):
        value_of(1e-3)
    return time.perf_counter() - started


def by_optuna(trials: int) -> float:
    """Seconds of Optuna's loop."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    started = time.perf_counter()
    study.optimize(
        lambda trial: value_of(trial.suggest_float("learning_rate", LOW, HIGH, log=True)), trials
    )
    return time.perf_counter() - started


def by_hpopt(trials: int) -> float:
    """Seconds of a study."""
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.toml"
        space.write_text(SPACE)
        result = hpopt.search(
            command=COMMAND,
            space=str(space),
            value="value",
            value_pattern=r"value=(\S+)",
            agent="tpe",
            trials=trials,
            runs=folder,
        )
        times = [
            event["time"]
            for event in read_events(result.folder / "journal.jsonl")
            if event["event"] in ("decision", "reply")
        ]
        assert len(result.trials) == trials
        return float(times[-1] - times[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    ways: dict[str, Callable[[int], float]] = {
        "the processes alone": alone,
        "Optuna over subprocess.run": by_optuna,
        "hpopt": by_hpopt,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, run in ways.items():
            seconds[name].append(run(asked.trials))
    for name, of in seconds.items():
        each = [1000 * one / asked.trials for one in of]
        print(f"{name:<28s}{median(each):7.1f} ms a trial ({min(each):.1f} to {max(each):.1f})")


if __name__ == "__main__":
    main()
