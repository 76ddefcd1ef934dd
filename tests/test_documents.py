"""What the documents say is so: commands, code, paths, options, and pages that are generated."""

import argparse
import ast
import json
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import hpopt
from hpopt.cli.arguments import fill
from hpopt.cli.entry import main
from hpopt.cli.options import Parser, given, option
from hpopt.comparison.settings import COMPARISON_FIELDS, ComparisonSettings
from hpopt.searchers.registry import find_agent
from hpopt.settings.config import read_config
from hpopt.settings.study import FIELDS, Settings
from hpopt_search_spaces import load_space
from tests.documents import (
    LOG,
    OTHERS,
    PAGES,
    README,
    ROOT,
    all_commands,
    blocks,
    commands,
    words_in_code,
)

COMMANDS = all_commands()
PYTHON = [block for block in blocks() if block.language == "python"]
REFERENCE = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["FILES"]
# The cheap Python.
RUN = ("docs/getting-started.md", "docs/extending.md", "docs/environment.md", "docs/live.md")
DEAR = "own_model:gru"  # ten seconds


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the examples, and the files that the pages say to write."""
    for example in (ROOT / "examples").glob("*.py"):
        shutil.copy(example, tmp_path)
    shutil.copytree(ROOT / "examples" / "own_script", tmp_path / "examples" / "own_script")
    for block in blocks():
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def parsed(arguments: list[str]) -> argparse.Namespace | None:
    """What the command's own parser makes of its arguments; None where it would explain itself."""
    command, *rest = arguments
    parser = Parser(prog=command)
    fill(command, parser)
    return None if "--help" in rest else parser.parse_args(rest)


def test_there_are_commands_and_code_to_check() -> None:
    assert {arguments[0] for _, arguments in COMMANDS} >= {
        *("search", "compare", "resume", "report", "export", "ui", "tasks", "spaces", "agents")
    }
    assert len(COMMANDS) > 40
    assert len(PYTHON) > 5


@pytest.mark.parametrize(
    ("page", "arguments"), COMMANDS, ids=[f"{page}: {' '.join(a)}" for page, a in COMMANDS]
)
@pytest.mark.usefixtures("desk")
def test_every_command_is_accepted(page: str, arguments: list[str]) -> None:
    asked = parsed(arguments)
    if asked is None:
        return
    if arguments[0] == "search":
        values = {} if asked.config is None else read_config(asked.config)
        settings = Settings.of(values | given(asked, FIELDS))
        if settings.searcher.agent != "auto":
            find_agent(settings.searcher.agent, settings.searcher.pruner)
    elif arguments[0] == "compare":
        assert ComparisonSettings.of(given(asked, COMPARISON_FIELDS)).contestants


def test_what_needs_the_network_says_so() -> None:
    for block in blocks():
        hub = re.search(r"--(model|dataset) [\w-]+/", block.text)
        assert block.network == bool(hub), block


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.page)
@pytest.mark.usefixtures("desk")
def test_python_uses_what_there_is(block: Any) -> None:
    results = set()
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                assert hasattr(import_module(node.module), alias.name)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "hpopt.search":
            Settings.of({str(k.arg): ast.literal_eval(k.value) for k in node.keywords})
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "result":
            results.add(node.attr)
    known = {*dir(hpopt.StudyResult), *hpopt.StudyResult.__dataclass_fields__}
    assert results <= known


@pytest.mark.usefixtures("desk")
def test_toml_is_read() -> None:
    for block in (block for block in blocks() if block.language == "toml"):
        table = tomllib.loads(block.text)
        if "parameters" in table:
            assert block.file is not None
            assert load_space(block.file).names
        elif block.file is not None:
            Settings.of(table)


def test_code_and_commands_do_what_they_say(desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for block in PYTHON:
        if block.page in RUN and DEAR not in block.text:
            exec(compile(block.text, block.page, "exec"), {})
    (study,) = (desk / "runs").glob("simulated-*")
    for page in ("docs/getting-started.md", "docs/export.md", "docs/extending.md"):
        terminal = [b for b in blocks() if b.page == page and b.language == ""]
        for arguments in (a for b in terminal for a in commands(b.text)):
            if arguments == ["report", "NAME"] or "json" in arguments:
                arguments = [study.name if word == "NAME" else word for word in arguments]
            elif arguments[:3] == ["compare", "--task", "simulated"]:
                arguments += ["--seeds=1", "--trials=2", "--confirm-seeds=0", "--name=compared"]
            else:
                continue
            assert main(arguments) == 0, arguments
    for command in ("tasks", "spaces", "agents"):
        assert main([command]) == 0
    assert (study / "export" / "schedule.json").is_file()
    assert "own_searcher:HillClimbing" in (desk / "runs" / "compared" / "verdict.md").read_text()
    assert capfd.readouterr().err == ""


def is_run(arguments: list[str]) -> bool:
    """Whether a command trains, and needs neither a hub nor what a reader must fill in."""
    typed = " ".join(arguments)
    told = re.search(r"--help|NAME|STUDY|FILE|--model [\w-]+/", typed)
    return arguments[0] in ("search", "compare") and told is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed", sorted({shlex.join(arguments) for _, arguments in COMMANDS if is_run(arguments)})
)
def test_every_search_runs(typed: str, desk: Path) -> None:
    arguments = shlex.split(typed)
    pairs = [{"prompt": f"{n}:", "chosen": f"{n} is", "rejected": f"{n} or"} for n in range(40)]
    (desk / "pairs.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    budget = ["--trials=2", "--confirm-seeds=0", "--name=small"]
    budget += ["--seeds=1"] if arguments[0] == "compare" else []
    theirs = {"align", "dpo", "--command"} & set(arguments)
    lengths = [] if theirs else ["--trial-tokens=8192"]
    assert main([*arguments, *budget, *lengths]) == 0


def test_the_readme_is_short_and_pictures_are_small() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 900
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 200_000


@pytest.mark.parametrize("page", [p for p in PAGES + OTHERS if p != LOG], ids=lambda p: p.name)
def test_paths_and_options_that_are_named_exist(page: Path) -> None:
    options = {option(name) for name in {**FIELDS, **COMPARISON_FIELDS}}
    options |= {"--config", "--dry-run", "--to", "--folder", "--port", "--help", "--version"}
    top = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs"}
    for word in words_in_code(page):
        folder, slash, _ = word.partition("/")
        if slash and folder in top and re.fullmatch(r"[\w./-]+", word):
            assert (ROOT / word).exists(), word
        if page not in OTHERS:
            assert {f"--{name}" for name in re.findall(r"--([a-z][a-z-]+)", word)} <= options, word


@pytest.mark.parametrize("page", [README, *OTHERS], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_outside_of_docs_lead_somewhere(page: Path) -> None:
    # `mkdocs build --strict` says so of those in docs.
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("path", REFERENCE)
def test_what_is_generated_is_up_to_date(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text == REFERENCE[path](), "python scripts/reference.py writes it again"
