"""What can't be with a training script of the user's own is answered in one line."""

import sys
from pathlib import Path

import pytest

from hpopt.cli.entry import main
from tests.hpopt.commands import SPACE, write_script

PYTHON = f"{sys.executable} train.py {{learning_rate}} {{batch_size}}"
AUTO = SPACE.replace("default = 1e-4", 'default = "auto"')
TAKEN = SPACE.replace("batch_size", "steps")
REFUSED = [
    # the command
    ("", f"{PYTHON} {{rate}}", "--command: {rate} must be a hyperparameter of the space"),
    ("", f"{sys.executable} train.py {{batch_size}}", "--command: must take learning_rate of"),
    ("", f"{PYTHON} {{", "--command: must have braces in pairs"),
    ("", f"{PYTHON} {{seed:d}}", "--command: must have a name alone in braces"),
    ("", f"{PYTHON} 'a", "--command: must be quoted as for a shell"),
    ("", "no-such-program {learning_rate} {batch_size}", "must begin with a program that is there"),
    ("", " ", "--command: must begin with a program, but is empty"),
    ("", f"{PYTHON} {{steps}}", "--steps: must be given, since the command has {steps}"),
    ("--steps=3", PYTHON, "--steps: must go with a command that has {steps}"),
    ("--fraction=0.5", PYTHON, "--fraction: must go with a command that has {fraction}"),
    ("--fraction=2", f"{PYTHON} {{fraction}}", "--fraction: must be 1 at most, but got 2"),
    # the value
    ("--value=eval_loss:low", PYTHON, "--value: must be NAME, NAME:min or NAME:max"),
    ("--value-file=/v.json", PYTHON, "--value-file: must be a path in the trial's folder"),
    ("--value-pattern=(", PYTHON, "--value-pattern: must be a regular expression"),
    ("--value-pattern=loss", PYTHON, "--value-pattern: must have one group"),
    # the space
    ("--space=default", PYTHON, "must have a default of its own"),
    ("--space=auto.toml", PYTHON, "learning_rate must have a default of its own"),
    ("--space=taken.toml", PYTHON, "must leave the names seed, folder, fraction, steps to"),
    ("--baseline=rate=1", PYTHON, "--baseline: must have hyperparameters of learning_rate,"),
    ("--baseline=learning_rate=high", PYTHON, "--baseline: "),
    ("--fix=droput=0.1", PYTHON, "--command: must take droput"),
    # what is the script's affair, or nobody's
    ("--task=lm", PYTHON, "--task: must be left out with command, but got 'lm'"),
    ("--model=gpt2", PYTHON, "--model: must be left out for a command"),
    ("--trial-tokens=4096", PYTHON, "--trial-tokens: must be left out for a command"),
    ("--precision=bfloat16", PYTHON, "--precision: must be left out for a command"),
    ("--train-file=rows.csv", PYTHON, "--train-file: must be left out for a command"),
    ("--max-divergence=0.2", PYTHON, "--max-divergence: must be left out for a command"),
    ("--cost=9", PYTHON, "--cost: must be left out with command"),
    # who acts inside trials
    ("--agent=ppo", PYTHON, "agent: ppo acts inside trials, but a command gets"),
    ("--agent=learned", PYTHON, "agent: learned acts inside trials"),
    ("--agent=range-test", PYTHON, "agent: range-test acts inside trials"),
    ("--agent=tpe+promotion", PYTHON, "agent: +promotion pauses trials"),
]
WITHOUT_COMMAND = [
    ("--value=eval_loss", "--value: must go with command, but there is none"),
    ("--steps=9", "--steps: must go with command, but there is none"),
    ("--task=script", "--command: must be given for task script"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_script(tmp_path)
    for name, text in (("space", SPACE), ("auto", AUTO), ("taken", TAKEN)):
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, capfd: pytest.CaptureFixture[str], *typed: str) -> str:
    before = set(folder.rglob("*"))
    assert main(["search", "--trials=1", *typed]) == 2
    told, said = capfd.readouterr()
    assert told == ""
    assert said.count("\n") == 1
    assert set(folder.rglob("*")) == before
    return said


@pytest.mark.parametrize(("option", "command", "words"), REFUSED)
def test_before_anything_starts(
    folder: Path, capfd: pytest.CaptureFixture[str], option: str, command: str, words: str
) -> None:
    more = [option] if option else []
    asked = ["--space=space.toml", "--value=eval_loss", *more, "--command", command]
    assert words in refused(folder, capfd, *asked)


@pytest.mark.parametrize(("option", "words"), WITHOUT_COMMAND)
def test_settings_of_a_command_need_one(
    folder: Path, capfd: pytest.CaptureFixture[str], option: str, words: str
) -> None:
    assert words in refused(folder, capfd, option)


def test_a_command_needs_a_space_and_a_value(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = refused(folder, capfd, "--command", PYTHON, "--value=eval_loss")
    assert "--space: must be given with command" in told
    told = refused(folder, capfd, "--command", PYTHON, "--space=space.toml")
    assert "--value: must be given with command" in told


def test_export_of_others_needs_to_know_where_to(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "absent"]) == 2
    assert "export: must be a study in runs/" in capfd.readouterr().err
