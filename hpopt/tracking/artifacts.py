"""Files on a study's run: space, settings, the best schedule, a plot of the search, samples."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..record.folders import StudyFolder
from ..record.history import History
from ..record.schedule import Winner
from ..report.page.study import write_report
from ..report.plot import search_figure
from .rows import public

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_artifacts(
    client: "MlflowClient", run: str, history: History, study: Path, reports: bool
) -> None:
    """Logs what follows from the history, samples, and the files of the folder `artifacts`.

    Args:
        client: of the record.
        run: the study's.
        history: of the study.
        study: its folder, which gets the report too.
        reports: whether there is one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {
            "space.json": json.dumps(history.header["space"], indent=2),
            "settings.json": json.dumps(public(history.settings), indent=2),
        }
        if history.best is not None:
            winner = Winner.of(history, "schedule")
            texts["schedule.json"] = json.dumps(winner.to_json(), indent=2)
        for file, text in texts.items():
            (folder / file).write_text(text + "\n", encoding="utf-8")
        search_figure(history).savefig(folder / "search.png", dpi=150)
        client.log_artifacts(run, str(folder))
    if reports:
        client.log_artifact(run, str(write_report(StudyFolder(study), history)))
    samples = StudyFolder(study).samples
    if samples.is_file():
        client.log_artifact(run, str(samples))
    if (study / "artifacts").is_dir():
        client.log_artifacts(run, str(study / "artifacts"))
