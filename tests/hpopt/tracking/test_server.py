"""The record on a server elsewhere, whose users can't reach this machine's disk."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpopt.record.folders import StudyFolder
from hpopt.record.history import History
from hpopt.report.page.files import self_contained
from hpopt.report.page.study import write_report
from hpopt.tracking.artifacts import log_page
from hpopt.tracking.store import connect

SECONDS = 60.0  # that a server may take to start


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server that keeps everything in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = tmp_path / "server"
    where.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{where / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(where / "artifacts")]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    ) as process:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_a_server_gets_a_page_that_holds_all_it_needs(
    address: str, every_ending: list[dict[str, Any]], tmp_path: Path
) -> None:
    history = History()
    for event in every_ending:
        history.apply({"name": "otter", **event})
    (tmp_path / "otter").mkdir()
    page = write_report(StudyFolder(tmp_path / "otter"), history)
    client, experiment = connect(address, "lm")
    run = client.create_run(experiment).info.run_id
    log_page(client, run, page)

    assert "hpopt.report" not in client.get_run(run).data.tags
    theirs = Path(client.download_artifacts(run, "report.html", str(tmp_path)))
    assert theirs.read_text(encoding="utf-8") == self_contained(page)
