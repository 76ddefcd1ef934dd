"""The process that writes a comparison to MLflow: its studies as they end, then the verdict's run.

Its standard input has a line {"study": folder} for each study that ended, and {"end": …} when the
comparison does.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

from ..record.folders import MANIFEST, REPORT, StudyFolder
from ..record.journal import JournalReader
from ..settings.study import Level
from .artifacts import log_page
from .channel import open_channel, read_uri, report, report_failure
from .projection import Projection
from .store import connect

RECORDED = "recorded"  # beside a study's journal, once its record is complete
VERDICT_FILES = ("verdict.json", "verdict.md", "curves.csv")


def main() -> None:
    """Write what standard input names.

    Arguments: the comparison's folder, the experiment, and the level.
    """
    folder, experiment, level = Path(sys.argv[1]), *sys.argv[2:]
    channel, uri, failed = open_channel(), read_uri(), False
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "study" in message:
                record_study(Path(message["study"]), uri, experiment, cast(Level, level))
            elif message["end"] == "finished":
                _record_verdict(folder, uri, experiment)
            report(channel, {"written": 1})
        except Exception as error:  # whatever it is, the comparison must go on
            report_failure(channel, error, uri)
            failed = True
    sys.exit(failed)


def record_study(study: Path, uri: str, experiment: str, level: Level) -> None:
    """Write a finished study's journal, and mark it as recorded."""
    header, *events = JournalReader(StudyFolder(study).journal).poll()
    projection = Projection(uri, experiment, level, header)
    for event in events:
        projection.apply(event)
    projection.finish("finished", study)
    (study / RECORDED).touch()


def _record_verdict(folder: Path, uri: str, experiment: str) -> None:
    """Write the run that holds the verdict, beside the studies'; there is one a comparison."""
    from mlflow.entities import Metric, RunTag

    client, experiment_id = connect(uri, experiment)
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    manifest = (folder / MANIFEST).read_bytes()
    identity = hashlib.sha256(manifest + str(folder.absolute()).encode()).hexdigest()[:16]
    where = f"tags.`hpopt.comparison_id` = '{identity}'"
    found = client.search_runs([experiment_id], where, max_results=1)
    run = found[0] if found else client.create_run(experiment_id, run_name=f"verdict {folder.name}")
    now = round(time.time() * 1000)
    metrics = [
        Metric(f"normalised_regret.{row['searcher']}", regret["value"], now, checkpoint)
        for row in verdict["rows"]
        for checkpoint, regret in zip(verdict["checkpoints"], row["regrets"], strict=True)
        if regret is not None
    ]
    tags = {
        "hpopt.comparison_id": identity,
        "hpopt.comparison": folder.name,
        "hpopt.verdict": "true",
        "unit.step": "full-run equivalents of cost",
        "mlflow.note.content": (folder / "verdict.md").read_text(),
    }
    client.log_batch(run.info.run_id, metrics, tags=[RunTag(*item) for item in tags.items()])
    for name in VERDICT_FILES:
        if (folder / name).is_file():
            client.log_artifact(run.info.run_id, str(folder / name))
    log_page(client, run.info.run_id, folder / REPORT)
    client.set_terminated(run.info.run_id, "FINISHED")
