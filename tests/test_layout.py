"""Where tests are: in the rooms of what they test, in files that are read at one sitting."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tests").rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in FILES]
FLOORS = {"hpopt": ROOT / "hpopt", "envs": ROOT / "envs" / "hpopt_envs"}


def imports_of(text: str) -> list[str]:
    """Names of everything that a file imports: modules, and names in them."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module or ''}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_are_short_and_import_no_test_module(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    ours = [name.split(".") for name in imports_of(text) if name.startswith(("tests.", "."))]
    assert not [".".join(parts) for parts in ours if any(p.startswith("test_") for p in parts)]


@pytest.mark.parametrize("floor", FLOORS)
def test_folders_of_tests_are_rooms(floor: str) -> None:
    folders = {path.parent for path in (ROOT / "tests" / floor).rglob("test_*.py")}
    inside = {folder.relative_to(ROOT / "tests" / floor).parts for folder in folders}
    rooms = {parts[0] for parts in inside if parts}
    for room in rooms:
        place = FLOORS[floor] / room
        assert place.is_dir() or place.with_suffix(".py").is_file(), room
