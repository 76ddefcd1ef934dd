"""`python -m hpopt pretrain`: a policy from nothing, gone on with, and refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpopt.cli.entry import main
from hpopt.policies.files import load_policy
from hpopt.pretraining.tables import Table


def test_a_folder_of_other_settings_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {"families": 3, "tasks": 2, "seed": 0, "version": "1"}
    (tmp_path / "pretraining.json").write_text(json.dumps(there))
    assert main(["pretrain", str(tmp_path), "--families", "1", "--tasks", "2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hpopt: folder: {tmp_path} must be new, or of {{'families': 1,")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("said", ["--families=0", "--tasks=none", "--seed=-1", "--workers=0"])
def test_impossible_settings_are_refused_in_a_line(
    said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", str(tmp_path / "policy"), said]) == 2
    _, err = capsys.readouterr()
    assert err.startswith(f"hpopt: {said.partition('=')[0]}: must be")
    assert not (tmp_path / "policy").exists()


@pytest.mark.slow
def test_a_policy_is_made_searched_with_and_its_tables_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = str(tmp_path / "policy")
    typed = ["pretrain", policy, "--families", "1", "--tasks", "4", "--replays", "4000"]
    assert main(typed) == 0
    first = load_policy(policy)
    assert first.card["tasks"] == 4
    (table, *held_out) = sorted((tmp_path / "policy" / "tables").iterdir(), reverse=True)
    assert len(held_out) == 2
    assert first.card["trials"] == Table.load(table).loss.numel()
    capsys.readouterr()
    assert main(typed) == 0
    assert capsys.readouterr().out.startswith("3 of 3 tables are there")
    assert load_policy(policy).digest == first.digest
    search = ["search", "--task", "nano:markov:3", "--agent", "learned", "--policy", policy]
    assert main([*search, "--trials", "3", "--confirm-seeds", "0", "--runs", str(tmp_path)]) == 0


def test_workers_end_with_a_parent_that_was_killed() -> None:
    script = (
        "import os, time; from hpopt.pretraining.running import processes\n"
        "from hpopt.pretraining.settings import PretrainingSettings\n"
        "if __name__ == '__main__':\n"
        "    with processes(PretrainingSettings(workers=1)) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        pool.submit(time.sleep, 600).result()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(600):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker went on")
