"""Whether a tracking URI can be used, told before a study spends anything (without mlflow)."""

import base64
import http.client
import os
import socket
import urllib.error
import urllib.request
from urllib.parse import unquote, urlsplit, urlunsplit

from ..commands import TRACKING_URI, without_secrets
from ..errors import StudyError
from ..record.folders import check_writable
from .store import SQLITE, database_path, deleted, experiments, is_server

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # databases that MLflow knows


def check_reachable(uri: str, experiment: str | None = None, seconds: float = 20.0) -> None:
    """Check that MLflow can be written to.

    Args:
        uri: MLflow tracking URI.
        experiment: name of the one that is written to, where it is known yet.
        seconds: how long to wait for an answer.

    Raises:
        StudyError: it can't, or it is of a kind that MLflow no longer writes to.
    """
    try:
        _check(uri, experiment, seconds)
    except StudyError as error:
        raise StudyError(without_secrets(str(error), uri)) from None


def _check(uri: str, experiment: str | None, seconds: float) -> None:
    scheme = uri.partition(":")[0].partition("+")[0]
    if is_server(uri):
        _check_server(uri, seconds)
    elif uri.startswith(SQLITE):
        _check_file(uri, experiment)
    elif scheme in PORTS and "://" in uri:
        _check_port(uri, PORTS[scheme], seconds)
    else:
        known = ", ".join(["http://", "https://", SQLITE, *(f"{name}://" for name in PORTS)])
        source = f" (from {TRACKING_URI})" if uri == os.environ.get(TRACKING_URI) else ""
        raise StudyError(f"a tracking URI must begin with one of {known}, got {uri!r}{source}")


def _check_server(uri: str, seconds: float) -> None:
    address, credentials = _split(uri.rstrip("/") + "/health")
    request = urllib.request.Request(address, headers=credentials)
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return  # it is there; MLflow's own variables hold the credentials
        raise StudyError(
            f"the tracking URI must be an MLflow server's, but {address} answers "
            f"{error.code} {error.reason}"
        ) from None
    except http.client.InvalidURL:  # whose text may hold a part of a password
        raise StudyError(
            "a tracking URI must be http://HOST or http://HOST:PORT, with "
            "special characters of user and password as % and their codes"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StudyError(
            f"the tracking server must answer within {seconds:g} s, but {address} doesn't: {reason}"
        ) from None


def _split(address: str) -> tuple[str, dict[str, str]]:
    """Return an address without user and password, and the header that says them."""
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return address, {}
    code = base64.b64encode(unquote(user).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {code}"}


def _check_port(uri: str, port: int, seconds: float) -> None:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "localhost", parts.port or port
    except ValueError as error:
        raise StudyError(f"a tracking URI must name a host and a port, but: {error}") from None
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        raise StudyError(
            f"the tracking database must answer within {seconds:g} s, but {host}:{port} "
            f"doesn't: {error}"
        ) from None


def _check_file(uri: str, experiment: str | None) -> None:
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
    stages = {name: stage for _, name, stage in experiments(database)}
    if experiment is not None and stages.get(experiment) == "deleted":
        raise StudyError(f"experiment: {deleted(experiment)}")
