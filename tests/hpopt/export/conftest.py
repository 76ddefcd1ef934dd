"""Studies to export."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.hpopt.export.export_study import write_study


@pytest.fixture
def study(new_script: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Write a study into a folder of runs."""
    return partial(write_study, new_script, tmp_path / "runs")


@pytest.fixture
def nothing_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave data and model unread, where a test needs nothing of them beside the code."""
    head = '{"labels": ["0", "1"], "weight": [], "bias": []}'
    monkeypatch.setattr("hpopt.export.beside.beside", lambda exported: {"head.json": head})
