"""Locks whose files come and go keep processes apart, and what is empty goes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpopt.record.files import drop_empty, free_lock, take_lock, write_whole

COUNT = """
import sys
from pathlib import Path
from hpopt.record.files import free_lock, take_lock
lock, count = Path(sys.argv[1]) / "lock", Path(sys.argv[1]) / "count"
for _ in range(int(sys.argv[2])):
    file = take_lock(lock)
    count.write_text(str(int(count.read_text()) + 1))
    free_lock(lock, file)
"""


def test_processes_that_take_and_free_a_lock_never_have_it_together(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path), "1000"]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "4000"
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_another_has_is_refused_or_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    mine = take_lock(lock)
    with pytest.raises(BlockingIOError):
        take_lock(lock, wait=False)
    (tmp_path / "count").write_text("0")
    other = subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path), "1"])
    time.sleep(0.5)
    assert (tmp_path / "count").read_text() == "0"
    free_lock(lock, mine)
    assert other.wait() == 0
    assert (tmp_path / "count").read_text() == "1"


def test_a_lock_that_was_taken_away_by_hand_takes_nobody_else_s_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    mine = take_lock(lock)
    lock.unlink()
    theirs = take_lock(lock)
    free_lock(lock, mine)
    assert lock.exists()
    free_lock(lock, theirs)
    assert not lock.exists()


def test_a_log_goes_where_it_is_empty(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty.log", tmp_path / "full.log"
    empty.touch()
    full.write_text("Traceback")
    for log in (empty, full, tmp_path / "none.log"):
        drop_empty(log)
    assert [path.name for path in tmp_path.iterdir()] == ["full.log"]


def test_a_file_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for text in ("first", "second"):
        write_whole(path, text)
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("text", text)]
