"""The command line: help, lists, settings from a file, a dry run."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import hpopt
from hpopt.cli.entry import main
from hpopt.searchers.registry import AGENTS, PRUNERS, find_agent
from hpopt.settings.study import FIELDS
from hpopt_envs.tasks import load_task
from hpopt_search_spaces import load_space

HEAVY = {"torch", "optuna", "mlflow", "transformers", "rich", "matplotlib", "plotly", "pandas"}
LIGHT_TOO = HEAVY | {"numpy", "gymnasium"}  # which come with the settings' definitions


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], LIGHT_TOO),
        (["--version"], LIGHT_TOO),
        (["search", "--help"], HEAVY),
        (["spaces"], HEAVY),
        (["agents"], HEAVY),
    ],
)
def test_help_and_lists_import_nothing_heavy(arguments: list[str], heavy: set[str]) -> None:
    script = (
        "import sys\nfrom hpopt.cli import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        f"print('heavy:', *sorted(set(sys.modules) & {heavy}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], text=True, capture_output=True, check=True
    )
    assert told.stdout.endswith("heavy:\n")
    assert told.stderr == ""


def test_help_tells_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["search", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for name, field in FIELDS.items():
        value = f"[{field.metavar}]" if bool in field.kinds else field.metavar
        said = told.partition(f" --{name.replace('_', '-')} {value} ")[2]
        assert said, name
        if field.default is not None:
            assert f"default: {str(field.default).lower()}" in said.partition(" --")[0], name


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"hpopt {hpopt.__version__}\n"
    assert hpopt.__version__ == version("hpopt")


def test_what_is_listed_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    def listed(what: str) -> list[str]:
        assert main([what]) == 0
        rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
        assert all(len(row) == 2 for row in rows)
        return [row[0] for row in rows]

    assert {"lm", "simulated"} <= set(listed("tasks"))
    spaces = listed("spaces")
    assert {"default", "divergences", "full", "lora", "plain", "scheduled"} <= set(spaces)
    assert [load_space(name).name for name in spaces] == spaces
    agents = listed("agents")
    pruners = [f"+{name}" for name in PRUNERS if name != "none"]
    assert agents == [*AGENTS, *pruners]
    assert all(find_agent(agent) for agent in AGENTS)
    assert load_task("lm").name == "lm"


def test_the_command_line_wins_over_a_file_and_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text("task = 'simulated'\ntrials = 7\nconfirm_seeds = 0\n")
    arguments = ["search", "--config", "study.toml", "--dry-run"]
    assert main(arguments) == 0
    seven = capsys.readouterr().out
    assert main([*arguments, "--trials", "3"]) == 0
    three = capsys.readouterr().out
    assert "16 segments of 4,096 training tokens" in seven
    assert "the study: about 7 trials and at most 0 more in the final" in seven
    assert "the study: about 3 trials" in three
    assert list(tmp_path.iterdir()) == [tmp_path / "study.toml"]


def test_a_dry_run_counts_by_the_least_of_all_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def told(*limits: str) -> str:
        assert main(["search", "--task", "simulated", "--dry-run", *limits]) == 0
        return capsys.readouterr().out

    trial = int(re.findall(r"([\d,]+) token-equivalents", told())[0].replace(",", ""))
    assert "about 4 trials and at most 2 more" in told("--cost", str(6.5 * trial))
    assert "about 8 trials and at most 4 more" in told("--trials", "8")
    for confirmed in (0, 2):  # by the default and three finalists
        seeds = ("--confirm-seeds", str(confirmed))
        cost = ("--cost", str((5.5 + 4 * confirmed) * trial))
        assert "about 5 trials and" in told(*cost, *seeds)
        assert "about 3 trials and" in told(*cost, "--trials", "3", *seeds)
        assert "about 5 trials and" not in told("--trials", "9", "--time-limit", "0.0001", *seeds)
    assert "about 0 trials and" in told("--trials", "9", "--time-limit", "0.0001")


def test_a_dry_run_misses_a_study_that_the_search_would_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", "--task", "simulated", "--dry-run", "--portfolio", "lost"]) == 2
    assert "--portfolio: must be a study in runs/" in capsys.readouterr().err


def test_limits_of_a_study_that_goes_on_stay_as_they_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["resume", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("(default: as it was)") == 3
    assert "default: 8" not in told


def test_a_pipe_that_closes_early_is_no_error() -> None:
    command = ["bash", "-c", f"{shlex.quote(sys.executable)} -m hpopt agents | head -n 0"]
    told = subprocess.run(command, text=True, capture_output=True, check=True)
    assert told.stderr == ""
