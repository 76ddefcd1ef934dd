"""Commands in forks of this process, which has imported what takes seconds."""

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hpopt.study.dry_run
import hpopt.study.running
from hpopt.cli import main

__all__ = ["Ran", "forked", "hpopt"]

LOADED = (hpopt.study.dry_run, hpopt.study.running)


@dataclass(frozen=True)
class Ran:
    """A command that ran.

    Attributes:
        status: its exit status; None where it didn't end in time, and was killed.
        out: its standard output.
        err: its standard error.
    """

    status: int | None
    out: str
    err: str


def forked(words: Sequence[str], folder: Path, seconds: float) -> Ran:
    """Run a command in a folder, for so many seconds at most."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = os.fork()
        if process == 0:
            _child(words, folder, out.fileno(), err.fileno())
        status = _wait(process, seconds)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ran(status, *texts)


def _child(words: Sequence[str], folder: Path, out: int, err: int) -> None:
    """Run a command as a process of its own would, and end."""
    status = 99
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            status = main(words)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0
        except BaseException:
            traceback.print_exc()
            status = 98
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _wait(process: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, how = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(how)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None
