"""Lines about the record that a study's end and a comparison's share."""

from collections.abc import Mapping

from ..commands import resume_command, ui_command
from ..settings.groups import TrackingSettings
from . import Incomplete, links
from .store import is_server


def look_at_it(kept: TrackingSettings, pages: Mapping[str, str | None]) -> list[str]:
    """Return how to look at a record.

    Args:
        kept: where it is.
        pages: addresses in MLflow, once that is served, by what is there; None where it isn't
            known.
    """
    server = is_server(kept.uri)
    how = links.server(kept.uri) if server else ui_command(kept.runs, kept.tracking_uri)
    there = [f"  {what}: {page}" for what, page in pages.items() if page is not None]
    return [f"Look at it: {how}", *there]


def incomplete(error: Incomplete | None, name: str, runs: str) -> list[str]:
    """Return a line about what is missing in a record, none where it is complete.

    Args:
        error: what is missing.
        name: of the study or the comparison.
        runs: folder that it is kept in.
    """
    if error is None:
        return []
    again = f"; `{resume_command(name, runs)}` writes what is missing" if error.resumable else ""
    return [f"MLflow is incomplete: {error}{again}"]
