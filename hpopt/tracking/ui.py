"""MLflow's user interface, on this machine only."""

import os
import signal
import socket
import subprocess
import sys

from ..errors import StudyError
from . import links
from .links import HOST
from .store import (
    ENVIRONMENT,
    artifact_folder,
    as_mlflow_takes_it,
    database_path,
    experiments,
    is_server,
)

EMPTY = "0"  # the experiment that MLflow itself makes
SHOWN = 8  # experiments, the newest


def open_ui(uri: str, port: int = links.PORT) -> None:
    """Serve the user interface until Ctrl-C; a server's own is only pointed at.

    Args:
        uri: MLflow tracking URI.
        port: on 127.0.0.1.

    Raises:
        StudyError: there is no record yet, the port is taken, or MLflow can't serve it.
    """
    if is_server(uri):
        print(f"the record is on {links.server(uri)}; its experiments: {links.pages(uri)}")
        return
    database = database_path(uri)
    if database is not None and not database.is_file():
        raise StudyError(f"there is no record yet: {database} doesn't exist; run a search first")
    _check_free(port)
    environment = ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | dict(os.environ)
    # In a variable, since others can read the arguments of a process.
    environment |= {"MLFLOW_BACKEND_STORE_URI": as_mlflow_takes_it(uri)}
    server = subprocess.Popen(_command(uri, port), env=environment, start_new_session=True)
    print(f"MLflow: http://{HOST}:{port} answers in some seconds; Ctrl-C ends it")
    base, known = links.pages(uri, port), [] if database is None else experiments(database)
    lines = [
        f"  {name}: runs {links.table(base, number)} chart {links.chart(base, number)}"
        for number, name, stage in known
        if stage == "active" and number != EMPTY
    ]
    print("\n".join(lines[:SHOWN] or [f"  {base}"]), flush=True)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        return
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)  # it has workers of its own
            server.wait()
    raise StudyError(f"MLflow's server must run until Ctrl-C, but it ended with {code}")


def _command(uri: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]
    folder = artifact_folder(uri)
    if folder is not None:
        command += ["--no-serve-artifacts", "--default-artifact-root", folder.as_uri()]
    return command


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise StudyError(
                f"port {port} of {HOST} must be free, but it isn't ({error}); choose another "
                "with --port"
            ) from None
