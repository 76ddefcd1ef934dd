"""What a search costs beyond its training, and what a second worker brings, as ratios.

    python benchmarks/speed.py overhead [TRIALS]
    python benchmarks/speed.py workers [TRIALS]

Both search the embedded task, and leave start-up and confirmation aside; what is compared runs in
one process, one after the other, on a machine that should have nothing else to do.
"""

import argparse
import tempfile
import time
from pathlib import Path

from hpopt.record.history import History
from hpopt.record.journal import read_events
from hpopt.settings.study import Settings
from hpopt.study.display import Display
from hpopt.study.result import StudyResult
from hpopt.study.running import search
from hpopt_envs import make_env


def run_search(folder: str, **settings: object) -> StudyResult:
    return search(Settings.of({"confirm_seeds": 0, "runs": folder, **settings}), Display())


def searched_seconds(result: StudyResult) -> float:
    """From the first decision to the last reply, as the journal has it."""
    times: list[float] = [
        event["time"]
        for event in read_events(result.folder / "journal.jsonl")
        if event["event"] in ("decision", "reply")
    ]
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


def overhead(folder: str, trials: int) -> str:
    """TPE with MLflow, journal and snapshots, against bare loops over the same trials."""
    result = run_search(folder, trials=trials)
    whole, bare = searched_seconds(result), bare_seconds(result.history)
    return f"{trials} trials: search {whole:.1f} s, bare {bare:.1f} s, ratio {whole / bare:.3f}"


def workers(folder: str, trials: int) -> str:
    """Random search with two worker processes, against one slot in this process."""
    one, two = (
        searched_seconds(run_search(folder, agent="random", trials=trials, workers=n))
        for n in (1, 2)
    )
    return f"{trials} trials: one {one:.1f} s, two workers {two:.1f} s, ratio {one / two:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("overhead", "workers"))
    parser.add_argument("trials", type=int, nargs="?", default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = overhead if asked.what == "overhead" else workers
        print(run(str(Path(folder)), asked.trials))


if __name__ == "__main__":
    main()
