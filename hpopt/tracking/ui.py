"""MLflow's user interface, on this machine only."""

import os
import signal
import socket
import subprocess
import sys

from ..commands import without_password
from ..errors import StudyError
from .store import ENVIRONMENT, artifact_folder, database_path, is_server

HOST = "127.0.0.1"


def open_ui(uri: str, port: int = 5000) -> None:
    """Serve the user interface until Ctrl-C; a server's own is only pointed at.

    Args:
        uri: MLflow tracking URI.
        port: on 127.0.0.1.

    Raises:
        StudyError: there is no record yet, the port is taken, or MLflow can't serve it.
    """
    if is_server(uri):
        print(f"the record is on {without_password(uri)}")
        return
    database = database_path(uri)
    if database is not None and not database.is_file():
        raise StudyError(f"there is no record yet: {database} doesn't exist; run a search first")
    _check_free(port)
    environment = ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | dict(os.environ)
    environment |= {"MLFLOW_BACKEND_STORE_URI": uri}  # others can read the arguments of a process
    server = subprocess.Popen(_command(uri, port), env=environment, start_new_session=True)
    print(f"MLflow: http://{HOST}:{port} answers in some seconds; Ctrl-C ends it", flush=True)
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
        command += ["--no-serve-artifacts", "--default-artifact-root", str(folder)]
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
