"""What a process that writes to MLflow tells the one that started it: a JSON object a line.

{"ready": true}, {"written": metrics} and {"error": "…"}, on its standard output. It is told
{"uri": …} first, on its standard input.
"""

import contextlib
import json
import os
import sys
from typing import Any

from ..commands import censored
from ..wording import what_failed
from .store import ENVIRONMENT


def open_channel() -> int:
    """Settles in as such a process; returns a file for `report`.

    That is our standard output, kept from others: MLflow prints addresses of runs there.
    """
    os.nice(10)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def report(channel: int, status: dict[str, Any]) -> None:
    """Tell something; where nobody listens any more, the rest is to be written all the same."""
    with contextlib.suppress(OSError):
        os.write(channel, json.dumps(status).encode() + b"\n")


def report_failure(channel: int, error: Exception, uri: str) -> None:
    """Tell what went wrong, in one line that has nothing of the URI that others mustn't see."""
    report(channel, {"error": censored(what_failed(error), uri)})


def read_uri() -> str:
    """Return MLflow's tracking URI, which the first line of standard input has.

    What comes after that line stays there, for others to read.
    """
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(1)  # whoever started us was killed
        line += byte
    return str(json.loads(line)["uri"])
