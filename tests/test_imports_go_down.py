"""The three floors: imports go down only, and heavy libraries stay where they belong."""

import ast
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
MODULES = [(floor, path) for floor, folder in FLOORS.items() for path in folder.rglob("*.py")]


def imported_packages(source: str) -> set[str]:
    """Top-level packages that a module imports, also inside functions; not its own."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def is_tracking(path: Path) -> bool:
    return path.relative_to(FLOORS["hpopt"]).parts[0].startswith("tracking")


@pytest.mark.parametrize(
    ("floor", "path"), MODULES, ids=[str(path.relative_to(ROOT)) for _, path in MODULES]
)
def test_imports_go_down_only(floor: str, path: Path):
    imported = imported_packages(path.read_text(encoding="utf-8"))
    assert not imported & FORBIDDEN[floor]
    if floor == "hpopt" and not is_tracking(path):
        assert "mlflow" not in imported


def test_imports_are_found_wherever_they_are():
    source = "import a.b as c\nfrom d.e import f\nfrom .g import h\ndef i():\n    import j, k.l"
    assert imported_packages(source) == {"a", "d", "j", "k"}
    assert {floor for floor, _ in MODULES} == set(FLOORS)
