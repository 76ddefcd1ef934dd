"""Training scripts of a user's own that take milliseconds, and studies of them."""

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from hpopt.record.lines import Event

SPACE = """
[parameters.learning_rate]
type = "float"
log = true
low = 1e-5
high = 1e-1
default = 1e-4

[parameters.batch_size]
type = "integer"
powers_of_two = true
low = 4
high = 32
default = 8
"""
# Reports as `hpopt.report` does, which takes longer to import than all else here.
HEAD = """
import json, math, os, sys, time
rate, size, seed, folder = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def report(**values):
    with open(os.environ["HPOPT_REPORTS"], "a") as file:
        file.write(json.dumps(values) + "\\n")

value = (math.log10(rate) + 2.5) ** 2 + size / 100 + seed % 7 / 1000
"""
GOOD = "for step in range(3): report(step=step, eval_loss=value + 1 / (step + 1))"


def write_script(folder: Path, body: str = GOOD, name: str = "train.py") -> str:
    """Write a script, and return the command that runs it."""
    path = folder / name
    path.write_text(HEAD + textwrap.dedent(body))
    return f"{sys.executable} -S {path} {{learning_rate}} {{batch_size}} {{seed}} {{folder}}"


def settings(folder: Path, body: str = GOOD, **others: Any) -> dict[str, Any]:
    """What is said of a study of a script, in the folder that the script is written into."""
    space = folder / "space.toml"
    space.write_text(SPACE)
    return {
        "command": write_script(folder, body),
        "space": str(space),
        "value": "eval_loss",
        "task": "script",
        "trial_tokens": None,
        "agent": "tpe",
        "trials": 4,
        "confirm_seeds": 0,
        **others,
    }


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent doesn't."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def reasons(events: list[Event]) -> list[tuple[str, str]]:
    """Outcome and reason of each trial that ended."""
    replies = [event["reply"] for event in events if event["event"] == "reply"]
    return [(reply["outcome"], reply["reason"]) for reply in replies if reply["outcome"]]


def environment() -> dict[str, str]:
    """Variables of a process that imports what this one does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
