"""A process of the user's own ends when it is told to, with all that it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpopt_envs.scripts import process as process_module
from hpopt_envs.scripts.process import ScriptProcess
from tests.hpopt.commands import alive, environment

PARENT = """
import sys, time
from pathlib import Path
from hpopt_envs.scripts.process import ScriptProcess
process = ScriptProcess(sys.argv[2:], Path(sys.argv[1]), {"PATH": "/bin:/usr/bin"})
time.sleep(60)
"""
# Starts a process of its own in the background, and writes both numbers.
FAMILY = "sleep 60 & echo $$ $! > numbers.part; mv numbers.part numbers; wait"


def numbers(folder: Path) -> list[int]:
    """The processes of `FAMILY`, once they run."""
    path = folder / "numbers"
    wait_for(path.exists)
    return [int(number) for number in path.read_text().split()]


def wait_for(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def run(folder: Path, *arguments: str) -> ScriptProcess:
    return ScriptProcess(arguments, folder, dict(os.environ))


def test_output_is_kept_and_the_status_is_told(tmp_path: Path) -> None:
    process = run(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert process.wait(20.0)
    assert process.end() == process.end() == 3
    assert process.stdout.read_text() == "out\n"
    assert process.stderr.read_text() == "err\n"


def test_what_it_left_running_is_ended_too(tmp_path: Path) -> None:
    process = run(tmp_path, "sh", "-c", f"cd {tmp_path}; sleep 60 & echo $! > n; mv n numbers")
    (left,) = numbers(tmp_path)
    assert process.wait(20.0)
    assert process.end() == 0
    wait_for(lambda: not alive(left))


def test_it_is_ended_kindly_at_first(tmp_path: Path) -> None:
    process = run(tmp_path, "sh", "-c", f"cd {tmp_path}; trap 'echo bye; exit 0' TERM; {FAMILY}")
    family = numbers(tmp_path)
    assert process.end() == 0
    assert process.stdout.read_text() == "bye\n"
    wait_for(lambda: not any(map(alive, family)))


def test_what_doesnt_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "GRACE", 0.2)
    process = run(tmp_path, "sh", "-c", f"cd {tmp_path}; trap '' TERM; {FAMILY}")
    family = numbers(tmp_path)
    assert process.end() == -signal.SIGKILL
    wait_for(lambda: not any(map(alive, family)))


def test_it_doesnt_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    line = [sys.executable, "-c", PARENT, str(tmp_path), "sh", "-c", f"cd {tmp_path}; {FAMILY}"]
    parent = subprocess.Popen(line, env=environment())
    family = numbers(tmp_path)
    assert all(map(alive, family))
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(map(alive, family)))


def test_a_program_that_isnt_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(tmp_path, "no-such-program")
