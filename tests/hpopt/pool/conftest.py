"""A fixture of the tests on workers that fail."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture
def faulty_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process and its workers import `faulty_env`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
