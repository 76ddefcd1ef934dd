"""Files on a run: space, settings, the schedule, a plot of the search, samples, the page."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..record.folders import StudyFolder
from ..record.history import History
from ..record.recommended import Recommended
from ..report.page.files import self_contained
from ..report.plot import search_figure
from .rows import made_of, public
from .store import is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_artifacts(client: "MlflowClient", run: str, history: History, study: Path) -> None:
    """Log what follows from the history, samples, and the files of the folder `artifacts`.

    Args:
        client: of the record.
        run: the study's.
        history: of the study.
        study: its folder.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {
            "space.json": json.dumps(history.header["space"], indent=2),
            "made_of.json": json.dumps(made_of(history), indent=2),
            "settings.json": json.dumps(public(history.settings), indent=2),
        }
        if history.best is not None:
            recommended = Recommended.of(history, "schedule")
            texts["schedule.json"] = json.dumps(recommended.to_json(), indent=2)
        for file, text in texts.items():
            (folder / file).write_text(text + "\n", encoding="utf-8")
        search_figure(history).savefig(folder / "search.png", dpi=150)
        client.log_artifacts(run, str(folder))
    there = StudyFolder(study)
    log_page(client, run, there.report)
    if there.samples.is_file():
        client.log_artifact(run, str(there.samples))
    if (study / "artifacts").is_dir():
        client.log_artifacts(run, str(study / "artifacts"))


def log_page(client: "MlflowClient", run: str, page: Path) -> None:
    """Log where a report is, and to a server the page itself; nothing where there is none.

    Args:
        client: of the record.
        run: whose report it is.
        page: its file.
    """
    if not page.is_file():
        return
    if is_server(client.tracking_uri):
        client.log_text(run, self_contained(page), page.name)
    else:
        client.set_tag(run, "hpopt.report", str(page.absolute()))
