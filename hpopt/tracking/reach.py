"""Whether a tracking URI can be used, told before a study spends anything (without mlflow)."""

import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from ..errors import StudyError
from ..record.folders import check_writable
from .store import SQLITE, database_path, is_server

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # databases that MLflow knows


def check_reachable(uri: str, seconds: float = 20.0) -> None:
    """Check that MLflow can be written to.

    Args:
        uri: MLflow tracking URI.
        seconds: how long to wait for an answer.

    Raises:
        StudyError: it can't, or it is of a kind that MLflow no longer writes to.
    """
    scheme = uri.partition(":")[0].partition("+")[0]
    if is_server(uri):
        _check_server(uri, seconds)
    elif uri.startswith(SQLITE):
        _check_file(uri)
    elif scheme in PORTS and "://" in uri:
        _check_port(uri, PORTS[scheme], seconds)
    else:
        known = ", ".join(["http://", "https://", SQLITE, *(f"{name}://" for name in PORTS)])
        raise StudyError(f"a tracking URI must begin with one of {known}, got {uri!r}")


def _check_server(uri: str, seconds: float) -> None:
    address = uri.rstrip("/") + "/health"
    try:
        with urllib.request.urlopen(address, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return  # it is there; MLflow's own variables hold the credentials
        raise StudyError(
            f"the tracking URI must be an MLflow server's, but {address} answers "
            f"{error.code} {error.reason}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StudyError(
            f"the tracking server must answer within {seconds:g} s, but {address} doesn't: {reason}"
        ) from None


def _check_port(uri: str, port: int, seconds: float) -> None:
    parts = urlsplit(uri)
    host, port = parts.hostname or "localhost", parts.port or port
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        raise StudyError(
            f"the tracking database must answer within {seconds:g} s, but {host}:{port} "
            f"doesn't: {error}"
        ) from None


def _check_file(uri: str) -> None:
    database = database_path(uri)
    if database is None or not database.name:
        raise StudyError(f"a tracking URI of SQLite must name a file, got {uri!r}")
    check_writable(database.parent, "the tracking database's place")
    if not database.exists():
        return
    try:
        with database.open("r+b") as file:
            start = file.read(16)
    except OSError as error:
        raise StudyError(
            f"the tracking database must be writable, but {database} isn't: {error.strerror}"
        ) from None
    if start not in (b"", b"SQLite format 3\0"):
        raise StudyError(f"the tracking database must be an SQLite file, but {database} isn't")
