"""Files on a study's run: its space, its settings, the best schedule, a plot of the search."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..history import History
from ..plots import search_figure
from .rows import best_schedule, public

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_artifacts(client: "MlflowClient", run: str, history: History, extra: Path) -> None:
    """Logs what follows from the history, and every file of the folder `extra`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {
            "space.json": json.dumps(history.header["space"], indent=2),
            "settings.json": json.dumps(public(history.settings), indent=2),
            "best_schedule.json": best_schedule(history),
        }
        for file, text in texts.items():
            (folder / file).write_text(text + "\n", encoding="utf-8")
        search_figure(history).savefig(folder / "search.png", dpi=150)
        client.log_artifacts(run, str(folder))
    if extra.is_dir():
        client.log_artifacts(run, str(extra))
