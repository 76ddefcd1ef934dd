"""Addresses of MLflow's pages: a fresh browser would land on an empty one of another kind."""

from ..commands import without_password
from .store import is_server

PORT = 5000  # where `hpopt ui` listens
HOST = "127.0.0.1"


def pages(uri: str, port: int = PORT) -> str:
    """Return what addresses of pages begin with: the server's, or that of `hpopt ui`."""
    base = server(uri) if is_server(uri) else f"http://{HOST}:{port}"
    return f"{base}/#/experiments"


def server(uri: str) -> str:
    """Return a server's address for a browser, which asks for a password itself."""
    return without_password(uri.rstrip("/")).replace("***@", "")


def chart(base: str, experiment: str) -> str:
    """Return the address of an experiment's chart.

    Args:
        base: see `pages`.
        experiment: its id.
    """
    return f"{table(base, experiment)}&compareRunsMode=CHART"


def table(base: str, experiment: str) -> str:
    """Return the address of the table of an experiment's runs, see `chart`."""
    return f"{base}/{experiment}/runs?workflowType=machine_learning"


def run(base: str, experiment: str, run: str) -> str:
    """Return the address of a run's page, see `chart`."""
    return f"{base}/{experiment}/runs/{run}"
