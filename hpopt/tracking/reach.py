"""Whether a tracking URI can be used, told before a study spends anything (without mlflow)."""

import base64
import os
import socket
import urllib.error
import urllib.request
from http.client import HTTPException, InvalidURL
from urllib.parse import unquote, urlsplit

from ..commands import TRACKING_URI, censored, without_password
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
    scheme = uri.partition(":")[0].partition("+")[0]
    try:
        if is_server(uri):
            _check_server(uri, seconds)
        elif uri.startswith(SQLITE):
            _check_file(uri, experiment)
        elif scheme in PORTS and "://" in uri:
            _check_port(uri, PORTS[scheme], seconds)
        else:
            known = ", ".join(["http://", "https://", SQLITE, *(f"{name}://" for name in PORTS)])
            source = f" (from {TRACKING_URI})" if uri == os.environ.get(TRACKING_URI) else ""
            raise StudyError(
                f"a tracking URI must begin with one of {known}, got "
                f"{without_password(uri)!r:.200}{source}"
            )
    except ValueError as error:
        said = censored(str(error), uri)
        raise StudyError(
            f"a tracking URI must be one, but {without_password(uri)!r:.200} isn't: {said}"
        ) from None


def _check_server(uri: str, seconds: float) -> None:
    user, address = _server(uri)
    address += "/health"
    shown = without_password(" ".join(address.split()))[:200]
    request = urllib.request.Request(address)
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return  # it is there; MLflow's own variables hold the credentials
        raise StudyError(
            f"the tracking URI must be an MLflow server's, but {shown} answers "
            f"{error.code} {error.reason}"
        ) from None
    except InvalidURL:  # whose text may hold a part of a password
        raise StudyError(
            "a tracking URI must be http://HOST or http://HOST:PORT, with "
            "special characters of user and password as % and their codes"
        ) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StudyError(
            f"the tracking server must answer within {seconds:g} s, but {shown} doesn't: "
            f"{censored(str(reason), uri)}"
        ) from None


def _server(uri: str) -> tuple[str, str]:
    """Return "user:password" of a server's address, or "", and the address without it."""
    scheme, _, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    user, _, place = authority.rpartition("@")
    return user, f"{scheme}://{place}{slash}{path}".rstrip("/")


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
    try:
        if not database.exists():
            return
        if not database.is_file():
            raise StudyError(f"the tracking database must be a file, but {database} isn't")
        with database.open("r+b") as file:
            start = file.read(16)
    except OSError as error:
        raise StudyError(
            f"the tracking database must be writable, but {str(database)[:200]} isn't: "
            f"{error.strerror}"
        ) from None
    if start not in (b"", b"SQLite format 3\0"):
        raise StudyError(f"the tracking database must be an SQLite file, but {database} isn't")
    stages = {name: stage for _, name, stage in experiments(database)}
    if experiment is not None and stages.get(experiment) == "deleted":
        raise StudyError(f"experiment: {deleted(experiment)}")
