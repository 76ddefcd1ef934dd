"""Code that a model brings is run only where its user says so, and nobody is asked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpopt_envs import make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.models import EMBEDDED

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
(Path(__file__).parents[0] / "ran").touch()
Path(%r).touch()

class OtterConfig(LlamaConfig):
    model_type = "otter"

class OtterModel(LlamaForCausalLM):
    config_class = OtterConfig
"""


@pytest.fixture
def otter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of a type of its own; \"ran\" beside it tells that its code did."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "m"))
    folder = tmp_path / "otter"
    shutil.copytree(EMBEDDED["embedded"], folder)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "otter.OtterConfig", "AutoModelForCausalLM": "otter.OtterModel"}
    (folder / "config.json").write_text(
        json.dumps(config | {"model_type": "otter", "auto_map": auto})
    )
    (folder / "otter.py").write_text(CODE % str(tmp_path / "ran"))
    return folder


def test_a_model_with_code_of_its_own_is_refused_in_a_line(otter: Path) -> None:
    with pytest.raises(WorldError, match="^[^\n]*brings code of its own[^\n]*$"):
        make_env("lm", str(otter))
    assert not (otter.parent / "ran").exists()


def test_its_user_may_trust_it_once(otter: Path) -> None:
    trusting = make_env("lm", str(otter), trust_remote_code=True)
    assert (otter.parent / "ran").exists()
    assert trusting.facts.base_objective < 5.0  # it can write, as the embedded model
    with pytest.raises(WorldError, match="brings code of its own"):
        make_env("lm", str(otter))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_is_asked(workers: str, otter: Path) -> None:
    command = [sys.executable, "-m", "hpopt", "search", "--task", "lm", "--model", str(otter)]
    asked = subprocess.run(
        [*command, "--workers", workers, "--runs", str(otter.parent / "runs")],
        input="y\n" * 9,
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert asked.returncode == 2
    assert "brings code of its own" in asked.stderr
    assert "[y/N]" not in asked.stdout + asked.stderr
    assert not (otter.parent / "ran").exists()
