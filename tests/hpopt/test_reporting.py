"""`hpopt.report`, called in a training script."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hpopt
from hpopt.reporting import REPORTS
from hpopt_envs.scripts import reports
from tests.hpopt.commands import environment

HEAVY = ("torch", "numpy", "optuna", "gymnasium", "mlflow")


def test_it_does_nothing_where_hpopt_isnt_searching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REPORTS, raising=False)
    hpopt.report(step=1, eval_loss=2.0)


def test_it_appends_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reports.jsonl"
    monkeypatch.setenv(REPORTS, str(path))
    hpopt.report(step=1, eval_loss=torch.tensor(2.5))
    hpopt.report(eval_loss=2, num_input_tokens_seen=64)
    said = [json.loads(line) for line in path.read_text().splitlines()]
    assert said == [
        {"step": 1, "eval_loss": 2.5},
        {"eval_loss": 2.0, "num_input_tokens_seen": 64.0},
    ]
    monkeypatch.setenv("RANK", "1")
    hpopt.report(eval_loss=9.0)
    assert len(path.read_text().splitlines()) == 2


def test_what_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPORTS, str(tmp_path / "reports.jsonl"))
    with pytest.raises(ValueError, match="could not convert"):
        hpopt.report(eval_loss="low")  # type: ignore[arg-type]


def test_both_ends_mean_the_same_variable() -> None:
    assert reports.REPORTS == REPORTS


def test_it_imports_nothing_heavy() -> None:
    code = f"import sys, hpopt; hpopt.report(a=1); print([m for m in {HEAVY} if m in sys.modules])"
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
