"""Two processes on one model: the first one decides, and both do the same."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_both_go_the_first_ones_way(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "envs", "search_spaces"))
    address = {
        "GLOO_SOCKET_IFNAME": "lo",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
    }
    processes = []
    for rank in ("0", "1"):
        its = {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, str(Path(__file__).with_name("one_of_two.py")), str(tmp_path)]
        processes.append(
            subprocess.Popen(
                command, env={**os.environ, **address, **its}, stderr=subprocess.PIPE, text=True
            )
        )
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["processes"] == 2
    assert first == second
    assert any(at["hpopt/rolled_back"] for at in first["probes"])
    assert all(at["hpopt/probe_loss"] < 100 for at in first["probes"])
    assert errors[1].count("hpopt.live.Controller") == 0  # told once
    assert errors[0].count("takes over learning rate") == 1
    assert (tmp_path / "schedule.json").is_file()
