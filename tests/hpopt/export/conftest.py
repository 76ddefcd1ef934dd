"""Studies to export."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hpopt_envs.models import load_model, load_tokenizer
from tests.hpopt.export.examples import TEMPLATE
from tests.hpopt.export.export_study import write_study


@pytest.fixture
def study(new_script: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Write a study into a folder of runs."""
    return partial(write_study, new_script, tmp_path / "runs")


@pytest.fixture(scope="session")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The embedded model, stored in bfloat16, with a template of chats."""
    folder = tmp_path_factory.mktemp("model")
    load_model("embedded", 0).bfloat16().save_pretrained(folder)  # type: ignore[operator]
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def nothing_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave data and model unread, where a test needs nothing of them beside the code."""
    head = '{"labels": ["0", "1"], "weight": [], "bias": []}'
    monkeypatch.setattr("hpopt.export.beside.beside", lambda exported: {"head.json": head})
