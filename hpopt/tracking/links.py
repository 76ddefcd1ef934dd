"""Addresses of MLflow's pages: a fresh browser would land on an empty one of another kind."""

from urllib.parse import quote

from ..commands import without_password
from .store import is_server

KIND = "workflowType=machine_learning"
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
    return f"{base}/{experiment}/runs?{KIND}"


def run(base: str, experiment: str, run: str) -> str:
    """Return the address of a run's page, see `chart`."""
    return f"{base}/{experiment}/runs/{run}?{KIND}"


def studies(base: str, experiment: str) -> str:
    """Return the address of a chart of studies alone, not folded below their searchers."""
    query = quote("tags.`hpopt.study_id` != ''")
    order = quote("attributes.`run_name`")  # runs are folded in the order of their making alone
    return f"{chart(base, experiment)}&searchFilter={query}&orderByKey={order}&orderByAsc=true"
