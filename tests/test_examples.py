"""The examples do what their docstrings say, with smaller budgets than those."""

import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hpopt.cli.entry import main
from hpopt.testing import check_score, check_searcher, check_task
from hpopt_envs.scores.scores import make_score, score

EXAMPLES = Path(__file__).parents[1] / "examples"
REWARD = EXAMPLES / "own_reward.py"
SCRIPT = EXAMPLES / "own_script" / "train.py"
SEARCHER = EXAMPLES / "own_searcher.py"
LIVE = ("own_trainer.py", "own_trl.py", "own_loop.py")
BUDGETS = {
    "own_task.py": ["--trials=2", "--trial-tokens=4096"],
    "own_model.py": ["--trials=1", "--trial-tokens=8192"],
    "own_searcher.py": ["--trials=2", "--trial-tokens=8192"],
}


def test_every_example_is_tried_and_short() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    elsewhere = "plain_sb3.py"  # in tests/envs/episode/test_gymnasium.py
    assert names == {*BUDGETS, *LIVE, REWARD.name, SEARCHER.name, elsewhere}
    for name in names:
        assert len((EXAMPLES / name).read_text().splitlines()) < (40 if name in LIVE else 60)


@pytest.mark.parametrize("name", BUDGETS)
def test_its_command_finds_something_better_than_the_base(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stated = re.search(r"^    python -m hpopt (.*)$", (EXAMPLES / name).read_text(), re.MULTILINE)
    assert stated is not None
    typed = [*shlex.split(stated[1]), *BUDGETS[name]]
    monkeypatch.chdir(EXAMPLES)
    assert main([*typed, "--runs", str(tmp_path), "--name", "example", "--confirm-seeds=1"]) == 0
    told, said = capfd.readouterr()
    assert said == ""
    assert "On the test split, by which nothing was chosen, 1 fresh seed:" in told
    result = json.loads((tmp_path / "example" / "result.json").read_text())
    gain = result["best_value"] - result["base_value"]
    assert (gain if result["maximize"] else -gain) > 0.3
    weights = load_file(tmp_path / "example" / "best" / "model.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) > 10_000


def test_the_script_is_run_as_its_docstring_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = SCRIPT.read_text()
    stated = re.search(r"^    python -m hpopt (.*)$", text, re.MULTILINE)
    assert stated is not None
    assert len(text.splitlines()) < 60
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    small = ["--trials=2", "--confirm-seeds=1", "--runs", str(tmp_path), "--name=example"]
    assert main([*shlex.split(stated[1]), *small]) == 0
    told, said = capfd.readouterr()
    assert said == ""
    assert "python examples/own_script/train.py --lr " in told.partition("Command to paste:")[2]
    result = json.loads((tmp_path / "example" / "result.json").read_text())
    assert result["best_value"] < 4.5  # nats a character


def test_the_reward_of_its_command_prefers_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = re.search(r"^    python -m hpopt .* --reward (\S+)", REWARD.read_text(), re.MULTILINE)
    assert stated is not None
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", list(sys.path))
    reward = make_score(stated[1], "reward")
    responses = ["Return the name.", "Returns the name.", "The name.", ""]
    assert score(reward, [""] * 4, responses, "reward").tolist() == [1.0, 0.5, 0.0, 0.0]


def test_the_searcher_of_its_commands_searches_and_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stated = re.findall(r"^    python -m hpopt (.*)$", SEARCHER.read_text(), re.MULTILINE)
    search, compare = map(shlex.split, stated)
    monkeypatch.chdir(EXAMPLES)
    record = ["--runs", str(tmp_path)]
    small = ["--trials=2", "--trial-tokens=4096", "--confirm-seeds=0", "--name=search"]
    assert main([*search, *small, *record]) == 0
    result = json.loads((tmp_path / "search" / "result.json").read_text())
    assert result["best_value"] < result["base_value"]
    small = ["--trials=4", "--trial-tokens=16384", "--seeds=1", "--name=compare"]
    assert main([*compare, *small, *record]) == 0
    told, said = capfd.readouterr()
    assert said == ""
    assert re.search(r"^ *own_searcher:HillClimbing ", told, re.MULTILINE)


def test_the_examples_keep_the_promises_of_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", list(sys.path))
    check_task("own_task:Digits", trial_tokens=4096)
    check_searcher("own_searcher:HillClimbing")
    check_searcher("own_searcher:HillClimbing-cold", workers=(2,))
    check_score("own_reward:command")


# Of trl and of torch, on a machine without an accelerator.
@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
@pytest.mark.parametrize("name", LIVE)
def test_a_learning_rate_is_found_inside_a_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    told, _ = capfd.readouterr()
    if name == "own_loop.py":
        assert float(told.split()[-1]) < 0.4  # nothing learned is 0.69
        return
    schedule = json.loads((tmp_path / "schedule.json").read_text())
    assert schedule["configuration"] == "controller"
    losses = [float(loss) for loss in re.findall(r"'hpopt/objective': '([0-9.]+)'", told)]
    assert losses[-1] < losses[0] - 0.3
