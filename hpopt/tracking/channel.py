"""Between a process that writes to MLflow and the one that started it: JSON objects, one a line.

It is told on its standard input: {"uri": …} first, then of studies, and of the end. On its
standard output it tells {"ready": …} with where the record is, {"written": metrics},
{"refused": […]} and {"error": "…"}.
"""

import contextlib
import json
import os
import select
import sys
import time
from typing import Any

from ..commands import censored, without_password
from ..wording import what_failed
from .batches import REFUSALS
from .store import ENVIRONMENT, is_server


def open_channel() -> int:
    """Settle in as such a process; return a file for `report`.

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
    final = getattr(error, "error_code", None) in REFUSALS
    said = what_failed(error)
    if is_silence(error, uri):
        seconds = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
        said = (
            f"the server at {without_password(uri)} took longer than {seconds} s to answer, which "
            "MLFLOW_HTTP_REQUEST_TIMEOUT sets"
        )
    report(channel, {"error": censored(said, uri), "resumable": not final})


def is_silence(error: Exception, uri: str) -> bool:
    """Return whether it came of a server that doesn't answer."""
    return is_server(uri) and "timed out" in str(error)


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


class Inbox:
    """Standard input: messages as they come; its end is that of who writes them."""

    def __init__(self) -> None:
        self._read = b""

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """Return the next message, None where none comes within that time.

        Where nobody can write any more, it is {"end": "killed"}.
        """
        deadline = time.monotonic() + seconds
        while True:
            line, newline, rest = self._read.partition(b"\n")
            if newline:
                self._read = rest
                message: dict[str, Any] = json.loads(line)
                return message
            left = max(0.0, deadline - time.monotonic())
            if not select.select([0], [], [], left)[0]:
                return None
            data = os.read(0, 65536)
            if not data:
                return {"end": "killed"}
            self._read += data
