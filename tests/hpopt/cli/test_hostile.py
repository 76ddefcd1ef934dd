"""Hostile names, numbers, files, links and streams: a line or nothing, and never a traceback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpopt.cli import main

SEARCH = ["search", "--task", "simulated", "--agent", "random", "--trials", "2"]
DIGITS = "9" * 5000
HEX = "0x" + "f" * 5000  # TOML reads these without a limit, and Python can't show them
NUMBERS = ("learning_rate", "batch_size")
SPACE = """
[parameters.learning_rate]
type = "float"
log = true
low = 1e-5
high = {high}
default = 1e-4
[parameters.batch_size]
type = "choice"
choices = [8, {other}]
default = 8
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs folder of a study."""
    folder = tmp_path_factory.mktemp("ended")
    runs = str(folder / "runs")
    assert main([*SEARCH, "--confirm-seeds", "0", "--name", "otter", "--runs", runs]) == 0
    return folder


@pytest.fixture
def there(ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study in the working directory."""
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "otter"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("hpopt: ")
        assert said.count("\n") == 1
        assert len(said) < 700
        return said

    return run


@pytest.mark.parametrize("name", ["n" * 300, "../otter", "/etc", ".", "..", "", "a/b", "a\0b"])
def test_what_is_no_name_of_a_study_is_refused(
    name: str, there: Path, refused: Callable[..., str]
) -> None:
    for command in (["resume"], ["report"], ["export", "--to", "json"]):
        assert "must be the name of a study" in refused(*command, name)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        f"seed = {DIGITS}",
        f"workers = {HEX}",
        f"cost = {HEX}",
        f"cost = 0x{'f' * 500}",
        'runs = "a\\u0000b"',
        f"time_limit = {HEX}",
        *(f"[{table}]\n{name} = {HEX}" for table in ("fix", "baseline") for name in NUMBERS),
        *(f"[fix]\n{name} = 0x{'f' * 500}" for name in NUMBERS),
    ],
)
def test_a_config_of_another_kind_is_refused(
    text: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "config.toml").write_text(text)
    refused(*SEARCH, "--config", str(tmp_path / "config.toml"))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        *(SPACE.format(high=number, other="16") for number in (DIGITS, HEX, "0x" + "f" * 500)),
        *(SPACE.format(high="1.0", other=number) for number in (DIGITS, HEX, "0x" + "f" * 500)),
    ],
)
def test_a_space_of_another_kind_is_refused(
    text: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "space.toml").write_text(text)
    refused(*SEARCH, "--space", str(tmp_path / "space.toml"))


@pytest.mark.parametrize("option", ["--trials", "--segment-tokens", "--silence-limit", "--cost"])
@pytest.mark.parametrize("number", [DIGITS, "9" * 400])
def test_numbers_of_many_digits_are_refused(
    option: str, number: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    refused(*SEARCH, "--runs", str(tmp_path), f"{option}={number}")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--silence-limit=--"], "--silence-limit: must have a value"),
        (["--experiment=--"], "--experiment: must have a value"),
        (["--dry-run", "--task", "length:" + DIGITS], "--task: must be 'lm' or "),
        (["--agent", "x" * 100_000], "agent: there is no 'xxx"),
    ],
)
def test_odd_values_are_refused_in_a_line_that_can_be_read(
    typed: list[str], words: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert words in refused(*SEARCH, "--runs", str(tmp_path), *typed)


def test_a_learning_rate_whose_square_is_no_number_explodes(tmp_path: Path) -> None:
    options = ["--fix", "learning_rate=1e308", "--name", "otter", "--runs", str(tmp_path)]
    assert main([*SEARCH, *options]) == 1


@pytest.mark.parametrize("runs", ["\n", "a\nb", "\u2028", "\x1b[2J"])
def test_what_cannot_be_printed_is_escaped(runs: str, refused: Callable[..., str]) -> None:
    assert refused("report", "otter", "--runs", runs)[:-1].isprintable()


@pytest.mark.parametrize(
    "uri",
    [
        f"sqlite:///{'d' * 300}",
        "sqlite:////dev/full",
        "postgresql://h:bad/x",
        "postgresql://h:99999999/x",
        "http://a\nb",
        "http://[::1",
        f"http://{'a' * 300}",
    ],
)
def test_odd_tracking_addresses_are_refused(
    uri: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    refused(*SEARCH, "--runs", str(tmp_path / "runs"), "--tracking-uri", uri)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "{}"])
def test_damaged_files_beside_a_journal_do_no_harm(
    text: str, there: Path, refused: Callable[..., str]
) -> None:
    (there / "result.json").write_text(text)
    assert main(["report", "otter"]) == 0
    assert main(["resume", "otter"]) == 0
    (there / "comparison.json").write_text(text)
    assert "comparison.json must be as" in refused("resume", "otter")


def test_links_in_a_studys_folder_are_not_written_through(
    there: Path, refused: Callable[..., str]
) -> None:
    target = there.parents[1] / "target"
    target.write_text("mine")
    for name in ("report.html", "result.json", "schedule.json", "lock", "tracking.log"):
        (there / name).unlink(missing_ok=True)
        (there / name).symlink_to(target)
    for name in ("lock", "tracking.log"):
        assert "symbolic links" in refused("resume", "otter", "--trials", "3")
        (there / name).unlink()
    assert main(["resume", "otter", "--trials", "3"]) == 0
    assert target.read_text() == "mine"


def test_linked_folders_are_not_written_into(there: Path, refused: Callable[..., str]) -> None:
    target = there.parents[1] / "target"
    target.mkdir()
    (target / "trial-0000000-0001.safetensors").write_text("mine")
    shutil.rmtree(there / "best")
    (there / "best").symlink_to(target)
    assert main(["resume", "otter", "--trials", "3"]) == 0
    assert not (there / "best").is_symlink()
    for name in ("snapshots", "export"):
        shutil.rmtree(there / name, ignore_errors=True)
        (there / name).symlink_to(target)
    assert "is a link" in refused("resume", "otter", "--trials", "4")
    assert "is a link" in refused("export", "otter", "--to", "json")
    assert [path.name for path in target.iterdir()] == ["trial-0000000-0001.safetensors"]


@pytest.mark.parametrize(
    ("stdout", "environment"),
    [
        (">/dev/full 2>/dev/full", {}),
        ("<&- >&- 2>&-", {}),
        (">out", {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    ],
)
def test_what_cannot_be_shown_ends_no_study(
    stdout: str, environment: dict[str, str], tmp_path: Path
) -> None:
    command = f"{sys.executable} -m hpopt {' '.join(SEARCH)} --name otter {stdout}"
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(command, shell=True, cwd=tmp_path, env=os.environ | path | environment)
    assert ran.returncode == 0
    assert (tmp_path / "runs" / "otter" / "report.html").exists()
    if stdout == ">out":
        assert b"Winner" in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--time-limit", "0.0000001"], "No trial was run: a time limit of 1e-07 s is too short"),
        (["--trials", "2", "--space", "hot.toml"], "No trial ended with a value: "),
    ],
)
def test_a_study_without_a_value_says_why_in_its_status(
    options: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    hot = SPACE.format(high="100.0", other="16").replace("1e-5", "90.0").replace("1e-4", "95.0")
    (tmp_path / "hot.toml").write_text(hot)
    assert main([*SEARCH[:-2], *options, "--name", "otter"]) == 1
    told = capsys.readouterr().out
    assert why in told
    assert ("exploded" in told) is ("hot.toml" in options)
