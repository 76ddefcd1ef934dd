"""Floors and rooms: imports go down only, and heavy libraries stay where they belong.

The table of rooms is the one that people read, in `docs/architecture.md`.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "hpopt_search_spaces": ROOT / "search_spaces" / "hpopt_search_spaces",
    "hpopt_envs": ROOT / "envs" / "hpopt_envs",
    "hpopt": ROOT / "hpopt",
}
STUDY_LIBRARIES = {"optuna", "mlflow", "stable_baselines3"}
FORBIDDEN = {
    "hpopt_search_spaces": {"hpopt_envs", "hpopt", "torch", "numpy", "gymnasium"} | STUDY_LIBRARIES,
    "hpopt_envs": {"hpopt"} | STUDY_LIBRARIES,
    "hpopt": set(),
}
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FACE = {"__init__", "__main__"}  # they lead into the house, and belong to no room


def rooms_of(floor: str) -> dict[str, set[str]]:
    """The table of a floor's rooms: what each may import."""
    section = ARCHITECTURE.partition(f"## Rooms of `{floor}`\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", section, re.MULTILINE)
    rooms = {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}
    everything = {room for room, allowed in rows if allowed.strip() == "everything"}
    return {room: set(rooms) if room in everything else rooms[room] for room in rooms}


def targets(path: Path, floor: str) -> list[tuple[int, str]]:
    """Modules that a file imports by their full names, inside functions and for types too."""
    package = [floor, *path.relative_to(FLOORS[floor]).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


MODULES = [(floor, path) for floor, folder in FLOORS.items() for path in folder.rglob("*.py")]
IDS = [str(path.relative_to(ROOT)) for _, path in MODULES]


@pytest.mark.parametrize(("floor", "path"), MODULES, ids=IDS)
def test_imports_go_down_only(floor: str, path: Path) -> None:
    place = path.relative_to(FLOORS[floor]).parts[0].removesuffix(".py")
    imported = targets(path, floor)
    packages = {name.partition(".")[0] for _, name in imported}
    assert not packages & FORBIDDEN[floor]
    if floor == "hpopt" and place != "tracking":
        assert "mlflow" not in packages
    rooms = rooms_of(floor)
    if not rooms or place in FACE:
        return
    for line, name in imported:
        package, *inside = name.split(".")
        if package == floor and inside and inside[0] in rooms and inside[0] != place:
            assert inside[0] in rooms[place], f"line {line}: {place} imports {inside[0]}"


@pytest.mark.parametrize("floor", ["hpopt", "hpopt_envs"])
def test_every_room_is_in_the_table(floor: str) -> None:
    there = {
        entry.name.removesuffix(".py")
        for entry in FLOORS[floor].iterdir()
        if entry.suffix == ".py" or (entry / "__init__.py").is_file()
    }
    assert set(rooms_of(floor)) == there - FACE


@pytest.mark.parametrize("floor", ["hpopt", "hpopt_envs"])
def test_the_table_has_no_circle(floor: str) -> None:
    rooms = rooms_of(floor)
    everything = {room for room, allowed in rooms.items() if allowed == set(rooms)}
    waiting = {room: allowed for room, allowed in rooms.items() if room not in everything}
    while waiting:
        free = {room for room, allowed in waiting.items() if not allowed & set(waiting)}
        assert free, f"a circle among {sorted(waiting)}"
        waiting = {room: allowed for room, allowed in waiting.items() if room not in free}
    importing = {name for room in rooms if room not in everything for name in rooms[room]}
    assert not importing & everything


def test_imports_are_found_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "import a.b as c\nfrom d.e import f\nfrom ..g import h\nfrom . import m\n"
        "def i():\n    import j, k.l"
    )
    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "base.py").write_text(source, encoding="utf-8")
    monkeypatch.setitem(FLOORS, "scratch", tmp_path)
    names = {name for _, name in targets(folder / "base.py", "scratch")}
    assert names == {"a.b", "d.e.f", "scratch.g.h", "scratch.pool.m", "j", "k.l"}


# Not a tag of MLflow, which stands behind "tags.".
REFERENCE = re.compile(r"(?<!tags\.)`((?:hpopt|hpopt_envs|hpopt_search_spaces)(?:\.\w+)+)`")


@pytest.mark.parametrize(("floor", "path"), MODULES, ids=IDS)
def test_texts_name_modules_that_exist(floor: str, path: Path) -> None:
    for name in REFERENCE.findall(path.read_text(encoding="utf-8")):
        package, *inside = name.split(".")
        folder = FLOORS[package]
        while inside and (folder / inside[0]).is_dir():
            folder /= inside.pop(0)
        file = folder / (f"{inside.pop(0)}.py" if inside else "__init__.py")
        if not file.is_file():  # a name of the package itself
            assert re.search(rf"\b{file.stem}\b", (folder / "__init__.py").read_text()), name
            continue
        if inside:
            assert re.search(rf"\b{inside[0]}\b", file.read_text(encoding="utf-8")), name
