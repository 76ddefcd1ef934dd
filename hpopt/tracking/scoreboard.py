"""A comparison's own runs in MLflow: one for each searcher, on one chart, and the verdict's."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..record.folders import MANIFEST, REPORT
from ..report.page.look import colour
from .artifacts import log_page
from .batches import log
from .names import key
from .projection import Parent
from .store import connect

if TYPE_CHECKING:
    from mlflow.entities import Metric

VERDICT_FILES = ("verdict.json", "verdict.md", "curves.csv")
VERDICT = "verdict"


class Scoreboard:
    """The runs that a comparison's studies lie below; they are found again, or made.

    Args:
        comparison: its folder.
        uri: MLflow tracking URI.
        experiment: its name.
        searchers: labels of who takes part, in their order.
    """

    def __init__(
        self, comparison: Path, uri: str, experiment: str, searchers: Sequence[str]
    ) -> None:
        self._folder = comparison
        self._client, self._experiment = connect(uri, experiment)
        manifest = (comparison / MANIFEST).read_bytes()
        where = str(comparison.absolute()).encode()
        self._identity = hashlib.sha256(manifest + where).hexdigest()[:16]
        self._runs = self._find()
        self._colours = {who: colour(place) for place, who in enumerate(searchers)}
        # MLflow's list begins with the newest.
        for who in [VERDICT, *reversed(searchers)]:
            if who not in self._runs:
                self._runs[who] = self._make(who)

    @property
    def place(self) -> list[str]:
        """Ids of the experiment and of the verdict's run."""
        return [self._experiment, self._runs[VERDICT]]

    def _find(self) -> dict[str, str]:
        where = f"tags.`hpopt.comparison_id` = '{self._identity}'"
        found = self._client.search_runs([self._experiment], where, max_results=1000)
        for run in found:
            self._client.update_run(run.info.run_id, "RUNNING")
        tag = "hpopt.searcher"
        return {run.data.tags.get(tag, VERDICT): run.info.run_id for run in found}

    def _make(self, who: str) -> str:
        tags = {
            "hpopt.comparison_id": self._identity,
            "hpopt.comparison": self._folder.name,
            "mlflow.source.name": "hpopt",
        }
        if who == VERDICT:
            name, tags["hpopt.verdict"] = f"verdict {self._folder.name}", "true"
        else:
            name, tags["hpopt.searcher"] = who, who
            tags["mlflow.runColor"] = self._colours[who]
        made = self._client.create_run(self._experiment, tags=tags, run_name=name)
        return str(made.info.run_id)

    def parent(self, searcher: str) -> Parent:
        """Return the run that a study lies below: its searcher's, or the verdict's."""
        run = self._runs.get(searcher, self._runs[VERDICT])
        return Parent(run, self._colours.get(searcher, ""))

    def write_verdict(self) -> list[str]:
        """Write what the comparison came to; return what MLflow refuses of it."""
        verdict: dict[str, Any] = json.loads((self._folder / "verdict.json").read_text())
        refused = []
        for row in verdict["rows"]:
            who = row["searcher"]
            said = filter(None, [row["sentence"], verdict["title"]])
            tags = {"mlflow.note.content": "\n\n".join(said)}
            metrics = self._curves(verdict["grid"], who)
            refused += log(self._client, self._runs[who], metrics, {}, tags)
        run = self._runs[VERDICT]
        note = {"mlflow.note.content": (self._folder / "verdict.md").read_text()}
        refused += log(self._client, run, [], {}, note)
        for name in VERDICT_FILES:
            if (self._folder / name).is_file():
                self._client.log_artifact(run, str(self._folder / name))
        log_page(self._client, run, self._folder / REPORT)
        self.close("FINISHED")
        return refused

    def _curves(self, grid: dict[str, Any], who: str) -> list["Metric"]:
        """Return a searcher's curves, on the costs that all of them have points at."""
        from mlflow.entities import Metric

        # Always the same time: what is written again, MLflow then takes for what it has.
        now = round((self._folder / MANIFEST).stat().st_mtime * 1000)
        tasks = grid["best_so_far"]
        curves = {"normalised_regret": grid["normalised_regret"][who]}
        for task, found in tasks.items():
            name = "best_so_far" if len(tasks) == 1 else f"best_so_far/{key(task)}"
            curves[name] = found[who]
        return [
            Metric(name, value, now, cost)
            for name, values in curves.items()
            for cost, value in zip(grid["full_run_equivalents"], values, strict=True)
            if value is not None
        ]

    def close(self, status: str) -> None:
        """End all of the runs."""
        for run in self._runs.values():
            self._client.set_terminated(run, status)
