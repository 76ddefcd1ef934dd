"""The command: `python -m benchmarks.campaigns NAME`."""

import argparse
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported

from .campaign import NAMES, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seed", type=int, default=0, help="of the first case (default: 0)")
    parser.add_argument("--count", type=int, help="of cases (default: the campaign's own)")
    asked = parser.parse_args()
    tally = run(asked.name, asked.seed, asked.count, say=lambda text: print(text, flush=True))
    print(tally.row)
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
