"""A working directory with tables of finished runs."""

from pathlib import Path

import pytest

from tests.envs.stand_ins.tables import HEAD, ROWS, STEPS, Write


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPOPT_TABLES", raising=False)

    def into(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    into("rows.csv", HEAD + ROWS)
    into("steps.csv", STEPS)
    return into
