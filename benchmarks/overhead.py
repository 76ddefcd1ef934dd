"""What a search costs beyond its training: its time over that of the bare loops that it ran.

    python benchmarks/overhead.py [TRIALS]

One process runs a search on the embedded task (TPE, MLflow and snapshots as always; start-up and
confirmation aside), then trains and validates the same trials again with nothing around them.
"""

import sys
import tempfile
import time
from pathlib import Path

from hpopt.display import Display
from hpopt.history import History
from hpopt.journal import read_events
from hpopt.settings import Settings
from hpopt.study import JOURNAL, search
from hpopt_envs import make_env


def searched_seconds(folder: Path) -> float:
    """From the first decision to the last reply, as the journal has it."""
    times = [event["time"] for event in read_events(folder / JOURNAL) if event["event"] != "study"]
    return times[-1] - times[0]


def bare_seconds(history: History) -> float:
    """The same trials on the training run itself: start, advance, validate."""
    env = make_env("lm", validate_segments=False)
    started = time.perf_counter()
    for trial in history.trials.values():
        state = env.run.start(trial.seed)
        for segment in trial.segments:
            env.run.advance(state, segment.hyperparameters, segment.id)
        env.run.evaluate(state, "validation", whole=True)
    return time.perf_counter() - started


def main(trials: int) -> None:
    with tempfile.TemporaryDirectory() as runs:
        settings = Settings.of({"trials": trials, "confirm_seeds": 0, "runs": runs, "name": "a"})
        result = search(settings, Display())
        whole = searched_seconds(result.folder)
        bare = bare_seconds(result.history)
    print(f"search {whole:.1f} s, bare loops {bare:.1f} s, ratio {whole / bare:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
