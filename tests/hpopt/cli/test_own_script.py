"""A training script of the user's own, on the command line: what is told, refused and left over."""

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpopt.cli.arguments import fill
from hpopt.cli.display import LineDisplay
from hpopt.cli.entry import main
from hpopt.cli.options import Parser, given
from hpopt.cli.summary import report
from hpopt.settings.study import FIELDS, Settings
from hpopt.study.opening import begin, take_up
from hpopt_envs.records import Outcome
from tests.hpopt.commands import GOOD, SPACE, alive, environment, write_script
from tests.hpopt.searching import run

COMMAND = f"{sys.executable} train.py {{learning_rate}} {{batch_size}} {{seed}} {{folder}}"
SLOW = """
with open(os.path.join(folder, "process"), "w") as file: file.write(str(os.getpid()))
report(eval_loss=value)
time.sleep(60 if os.path.exists("slow") else 0)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a script, a space, and none of MLflow."""
    write_script(tmp_path)
    (tmp_path / "space.toml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*more: str, command: str = COMMAND) -> list[str]:
    said = ["search", "--command", command, "--space=space.toml", "--value=eval_loss"]
    return [*said, "--trials=4", "--name=otter", *more]


def settings(typed: list[str]) -> Settings:
    parser = Parser()
    fill("search", parser)
    return Settings.of(given(parser.parse_args(typed[1:]), FIELDS))


def search(*more: str, command: str = COMMAND) -> str:
    """What a search tells on the terminal; it has no MLflow, whose database takes seconds."""
    told = io.StringIO()
    said = settings(asked(*more, command=command))
    with contextlib.redirect_stdout(told):
        result = run(begin(said), LineDisplay())
        print(report(result, said))
    return told.getvalue()


def test_a_search_ends_with_the_command_to_paste(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = search("--confirm-seeds=1", "--baseline=learning_rate=0.01")
    assert f"study otter: tpe on script, {COMMAND}\n" in told
    assert "Costs are the tokens that the script reports" in told
    assert "A command has no test split" in told
    for absent in ("base model", "FLOPs", "training tokens", "token-equivalents"):
        assert absent not in told
    assert re.search(r"^Cost: [\d,]+ seconds: 4 trials, and", told, re.MULTILINE)
    assert main(["export", "otter"]) == 0
    command = capfd.readouterr().out.strip()
    assert f"Command to paste:\n  {command}\n" in told
    written = {**os.environ, "HPOPT_REPORTS": str(folder / "values")}
    subprocess.run(shlex.split(command), check=True, env=written)
    assert len((folder / "values").read_text().splitlines()) == 3
    assert main(["export", "otter", "--to", "transformers"]) == 2
    assert "the study's is a command of your own" in capfd.readouterr().err


def test_values_reach_the_script_as_they_are(folder: Path) -> None:
    (folder / "space.toml").write_text(
        '[parameters.note]\ntype = "choice"\nchoices = ["$(touch x) {y} \'", "b"]\n'
        'default = "$(touch x) {y} \'"\n'
    )
    code = "import sys; print(sys.argv[1:])"
    command = f"{sys.executable} -c '{code}' '{{{{\"note\": {{note}}}}}}'"
    found = r"--value-pattern=note(?:.*?)()"
    told = search(found, "--trials=1", command=command)
    assert "ended without a value of eval_loss" in told  # since the group is no number
    out = folder / "runs" / "otter" / "trials" / "trial-0000000" / "stdout.txt"
    assert out.read_text() == repr(['{"note": $(touch x) {y} \'}']) + "\n"
    assert not (folder / "x").exists()


@pytest.mark.parametrize("form", ["stdout", "json", "jsonl", "trainer"])
def test_the_value_is_found_in_every_form(folder: Path, form: str) -> None:
    state = '{"log_history": [{"loss": 9}, {"eval_loss": 1.5}]}'
    text, option = {
        "stdout": ("print('at the end: 1.5')", r"--value-pattern=end: (\S+)"),
        "json": ("open(folder + '/v.json', 'w').write('{\"eval_loss\": 1.5}')", None),
        "jsonl": ("open(folder + '/v.jsonl', 'w').write('{\"eval_loss\": 1.5}')", None),
        "trainer": (f"open(folder + '/trainer_state.json', 'w').write('{state}')", ""),
    }[form]
    write_script(folder, text)
    more = [f"--value-file=v.{form}" if option is None else option]
    told = search("--trials=1", "--confirm-seeds=0", *filter(None, more))
    assert "Winner: trial 0 with 1.5000" in told


def test_fractions_and_steps_are_passed_and_pasted_for_a_full_run(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_script(folder, "report(eval_loss=float(sys.argv[5]) + float(sys.argv[6]))")
    command = f"{COMMAND} {{fraction}} {{steps}}"
    more = ["--fraction=0.25", "--steps=20", "--confirm-seeds=0", "--fix=batch_size=16"]
    assert main([*asked(*more, command=command), "--dry-run"]) == 0
    assert "0.0001 16 0 output 0.25 20" in capfd.readouterr().out
    told = search(*more, command=command)
    assert "with 20.2500 on" in told
    assert re.search(r"^  \S+ train.py \S+ 16 0 output 1.0 20$", told, re.MULTILINE)


def test_a_killed_search_leaves_no_process_and_goes_on(folder: Path) -> None:
    write_script(folder, SLOW)
    (folder / "slow").touch()
    line = [sys.executable, "-m", "hpopt", *asked("--confirm-seeds=0", "--workers=2")]
    parent = subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL)
    try:
        places = [
            folder / f"runs/otter/trials/trial-{trial:07d}/output/process" for trial in (0, 1)
        ]
        until = time.monotonic() + 60
        while not all(place.exists() and place.read_text() for place in places):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    left = [int(place.read_text()) for place in places]
    until = time.monotonic() + 20
    while any(map(alive, left)):
        assert time.monotonic() < until
        time.sleep(0.05)
    (folder / "slow").unlink()
    result = run(take_up("otter", "runs", {}))
    assert [trial.outcome for trial in result.trials] == [Outcome.COMPLETED] * 4


@pytest.mark.slow
def test_searchers_are_compared_on_a_command(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_script(folder, GOOD)
    assert main(["compare", *asked("--agents=tpe,random", "--seeds=1")[1:]]) == 0
    told = capfd.readouterr().out
    assert re.search(r"^random +0\.|^random +1\.", told, re.MULTILINE)
    for searcher, trials in (("tpe", 4), ("random", 4), ("default", 1)):
        place = folder / "runs" / "otter" / f"script.{searcher}.0" / "trials"
        assert len(list(place.iterdir())) == trials
