"""User and password of a tracking server are used, and shown and kept nowhere."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hpopt.commands import censored, with_credentials, without_credentials, without_password
from hpopt.errors import StudyError
from hpopt.tracking.reach import check_reachable

SECRET = "s3cret@x"
QUOTED = "s3cret%40x"


@pytest.fixture
def server() -> Iterator[Any]:
    """A server that answers `/health` of those who know the password, and nothing else."""
    expected = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == expected
            self.send_response(200 if known and self.path == "/health" else 500)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    one = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=one.serve_forever, args=(0.01,)).start()
    yield one
    one.shutdown()
    one.server_close()


def test_a_server_gets_the_password_and_nobody_else_does(server: Any, tmp_path: Path) -> None:
    uri = f"http://me:{QUOTED}@127.0.0.1:{server.server_port}"
    check_reachable(uri)
    arguments = "search --task simulated --agent random --trials 2 --name otter --runs runs"
    seen = set()
    config = tmp_path / "config.toml"
    config.write_text(f'tracking_uri = "{uri}"\n')
    study = subprocess.Popen(
        [sys.executable, "-m", "hpopt", *arguments.split(), "--config", str(config)],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while study.poll() is None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(path.read_bytes())
            except OSError:
                continue
    told, _ = study.communicate()
    assert study.returncode == 0
    assert any(b"hpopt.tracking.writer" in line for line in seen)
    config.unlink()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (SECRET, QUOTED):
        assert secret not in told
        assert not any(secret.encode() in line for line in seen)
        assert secret.encode() not in written
    assert "incomplete" in told  # it has no MLflow behind it


@pytest.mark.parametrize(
    "uri",
    [
        f"http://me:{QUOTED}@127.0.0.1:1",
        f"https://me:{QUOTED}@127.0.0.1:bad",
        f"http://me:{SECRET}@127.0.0.1:1",
        f"http://[::1:{QUOTED}@",
        f"postgresql://me:{SECRET}@127.0.0.1:1/runs",
        f"postgresql+psycopg2://me:{SECRET}/@127.0.0.1:port/runs?password={SECRET}",
        f"redis://me:{SECRET}@host",
        f"http://127.0.0.1:1/?token={SECRET}",
        f"http://me:{QUOTED}@a\nb/",
        f"http://me:{QUOTED}@{'a' * 300}",
    ],
)
def test_no_error_tells_a_password(uri: str) -> None:
    with pytest.raises(StudyError) as refused:
        check_reachable(uri)
    assert "s3cret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert "s3cret" not in without_password(uri)
    assert "s3cret" not in censored(f"MLflow says of {uri}: {SECRET} is wrong", uri)


def test_what_is_kept_finds_its_password_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"postgresql://me:{SECRET}@db/runs?sslmode=require&password={SECRET}&host=a"
    kept = without_credentials(uri)
    assert kept == "postgresql://db/runs?sslmode=require&host=a"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert with_credentials(kept) == uri
    assert with_credentials("postgresql://other/runs") == "postgresql://other/runs"
    for path in ("sqlite:////a/b@c?d=e.db", "http://host/a@b"):
        assert without_credentials(path) == path
    assert json.dumps(without_password("sqlite:///a@b")) == '"sqlite:///a@b"'
