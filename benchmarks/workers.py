"""How much faster two workers finish the same trials than one.

    python benchmarks/workers.py [TRIALS]

Random search on the embedded task, once with one worker process and once with two, in one run;
from the first decision to the last reply, so start-up and confirmation aside.
"""

import sys
import tempfile

from overhead import searched_seconds

from hpopt.display import Display
from hpopt.settings import Settings
from hpopt.study import search


def seconds(workers: int, trials: int) -> float:
    with tempfile.TemporaryDirectory() as runs:
        asked = {"agent": "random", "trials": trials, "confirm_seeds": 0, "workers": workers}
        result = search(Settings.of({**asked, "runs": runs, "name": "a"}), Display())
        return searched_seconds(result.folder)


def main(trials: int) -> None:
    one, two = seconds(1, trials), seconds(2, trials)
    print(f"{trials} trials: one worker {one:.1f} s, two {two:.1f} s, ratio {one / two:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
