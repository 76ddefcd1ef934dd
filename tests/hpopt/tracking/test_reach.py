"""A tracking URI that can't be used is refused before anything is spent."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hpopt.errors import StudyError
from hpopt.tracking.reach import check_reachable


@pytest.fixture
def server() -> Iterator[Callable[[int], str]]:
    """Starts servers that answer every request with a given status; returns their address."""
    servers = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/base/health" else 500)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/base/"

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize("status", [200, 401, 403])
def test_a_server_that_is_there_is_taken(server: Callable[[int], str], status: int) -> None:
    check_reachable(server(status))


def test_a_server_of_something_else_is_refused(server: Callable[[int], str]) -> None:
    with pytest.raises(StudyError, match="answers 404"):
        check_reachable(server(404))


def test_a_server_that_does_not_answer_is_refused(server: Callable[[int], str]) -> None:
    for uri in ("http://127.0.0.1:1", "http://127.0.0.1:1:2", "mysql+pymysql://127.0.0.1:1/db"):
        with pytest.raises(StudyError, match="must answer within"):
            check_reachable(uri)


def test_a_database_that_can_be_made_is_taken(tmp_path: Path) -> None:
    check_reachable(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")
    assert not list(tmp_path.iterdir())
    (tmp_path / "new").mkdir()
    sqlite3.connect(tmp_path / "new" / "mlflow.db").close()
    check_reachable(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")


def test_a_database_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a text and no database")
    with pytest.raises(StudyError, match="must be an SQLite file"):
        check_reachable(f"sqlite:///{tmp_path / 'text'}")
    with pytest.raises(StudyError, match="must be a folder that can be written to"):
        check_reachable(f"sqlite:///{tmp_path / 'text' / 'mlflow.db'}")


@pytest.mark.parametrize("uri", ["runs", "file:///runs", "sqlite://", "ftp://server", "mysql", ""])
def test_a_uri_that_mlflow_no_longer_takes_is_refused(uri: str) -> None:
    with pytest.raises(StudyError, match="must begin with one of"):
        check_reachable(uri)
