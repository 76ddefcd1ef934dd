"""Search spaces in TOML files: those that are shipped, and a user's own."""

import textwrap
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from .checks import nearest_names
from .errors import SpaceError
from .parameters import parameter_from_table
from .space import SearchSpace

_LONGEST = 10**7  # characters
_KEYS = ("description", "parameters", "fixed")


def available_spaces() -> list[tuple[str, str]]:
    """Return name and one-line description of every shipped space, by name."""
    return [(name, _read(text, f"{name}.toml")["description"]) for name, text in _shipped().items()]


def load_space(name_or_path: str | Path) -> SearchSpace:
    """Return a shipped space by its name, or one from a TOML file.

    A file has an optional `description` and a table `[parameters.NAME]` for each parameter, with
    `type` ("float", "integer" or "choice") and that type's attributes (see `FloatParameter`,
    `IntegerParameter`, `ChoiceParameter`). A table `[fixed]` has values that aren't searched.

    Args:
        name_or_path: a name, or a path that ends in ".toml".

    Raises:
        SpaceError: an unknown name (with the nearest ones), or a file that isn't a search space.
    """
    shipped = _shipped()
    if str(name_or_path) in shipped:
        return _parse(str(name_or_path), shipped[str(name_or_path)], f"{name_or_path}.toml")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        near = nearest_names(str(name_or_path), shipped)
        raise SpaceError(f"unknown search space {str(name_or_path)!r} ({near}, or a .toml file)")
    try:
        text = read_short(path)
    except (OSError, ValueError) as error:  # a name with a null byte, too
        why = error.strerror if isinstance(error, OSError) else "not UTF-8, or too long"
        raise SpaceError(f"a search space must be a readable file, but {path}: {why}") from error
    return _parse(path.stem, text, str(path))


def read_short(path: Path) -> str:
    """Return the text of a file that a person wrote; what is longer is none, such as a device.

    Raises:
        OSError: it can't be read.
        ValueError: it isn't UTF-8, or too long.
    """
    with path.open(encoding="utf-8") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST:,} characters")
    return text


def _shipped() -> dict[str, str]:
    folder = resources.files(__package__) / "spaces"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in files}


def _read(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own, too long numbers
        said = textwrap.shorten(str(error), 200)
        raise SpaceError(f"a search space must be TOML, but got: {said} (file {file})") from error


def _parse(name: str, text: str, file: str) -> SearchSpace:
    content = _read(text, file)
    try:
        for key in content:
            if key not in _KEYS:
                near = nearest_names(key, _KEYS)
                raise SpaceError(f"unknown key {key!r} ({near})")
        tables = content.get("parameters", {})
        if not isinstance(tables, dict):
            raise SpaceError(f"parameters must be a table, but got {tables!r}")
        parameters = tuple(parameter_from_table(k, t) for k, t in tables.items())
        return SearchSpace(name, parameters, content.get("fixed", {}))
    except SpaceError as error:
        raise SpaceError(f"{error} (file {file})") from error
