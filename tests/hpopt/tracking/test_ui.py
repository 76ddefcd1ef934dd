"""MLflow's user interface is served on this machine alone, until Ctrl-C."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hpopt.errors import StudyError
from hpopt.tracking.ui import open_ui


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_record_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no record yet"):
        open_ui(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "mlflow.db").close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StudyError, match=f"port {port} of 127.0.0.1 must be free"):
            open_ui(f"sqlite:///{tmp_path / 'mlflow.db'}", port)


def test_a_server_is_pointed_at(capsys: pytest.CaptureFixture[str]) -> None:
    open_ui("http://tracking:5000")
    assert "http://tracking:5000" in capsys.readouterr().out


@pytest.mark.slow
def test_it_answers_until_ctrl_c_and_leaves_nothing_behind(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "mlflow.db").close()
    port = free_port()
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hpopt.tracking.ui import open_ui; open_ui(sys.argv[1], int(sys.argv[2]))"
    )
    interface = subprocess.Popen(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'mlflow.db'}", str(port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    address = f"http://127.0.0.1:{port}/health"
    while True:
        assert interface.poll() is None
        try:
            with urllib.request.urlopen(address, timeout=1) as answer:
                assert answer.status == 200
                break
        except urllib.error.URLError:
            time.sleep(0.2)
    interface.send_signal(signal.SIGINT)
    assert interface.wait(60) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db"]
