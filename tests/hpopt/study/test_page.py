"""A study has its page whatever becomes of its record in MLflow, and however it ended."""

from pathlib import Path
from typing import Any

import pytest

from hpopt.record.lines import Event
from hpopt.settings.study import Settings
from hpopt.study.display import Display
from hpopt.study.result import StudyResult
from hpopt.study.running import search


class Interrupted(Display):
    """Ctrl-C when a trial has ended."""

    def event(self, event: Event) -> None:
        if event["event"] == "reply" and event["reply"]["value"] is not None:
            raise KeyboardInterrupt


def searched(runs: Path, display: Display, **settings: Any) -> StudyResult:
    """A study whose database looks like one, and is none."""
    (runs / "mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    asked = {"task": "simulated", "agent": "tpe", "trials": 3, "trial_tokens": 4 * 4096}
    return search(
        Settings.of({**asked, "runs": str(runs), "name": "otter", "track": "parents", **settings}),
        display,
    )


def test_a_study_has_its_page_where_mlflow_is_broken(tmp_path: Path) -> None:
    result = searched(tmp_path, Display())
    assert result.tracking_error is not None
    assert result.report_error is None
    page = (tmp_path / "otter" / "report.html").read_text()
    assert "otter: tpe on simulated" in page
    assert "of them for the final" in page
    assert "This study has no result yet" not in page


def test_a_study_that_was_interrupted_has_its_page(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, Interrupted())
    assert "This study has no result yet" in (tmp_path / "otter" / "report.html").read_text()


def test_a_page_that_cannot_be_written_does_not_cost_the_result(tmp_path: Path) -> None:
    (tmp_path / "otter" / "report.html").mkdir(parents=True)
    result = searched(tmp_path, Display(), confirm_seeds=0)
    assert len(result.trials) == 3
    assert result.report_error is not None
    assert "\n" not in result.report_error
