"""Settings in a file."""

import tomllib
from pathlib import Path
from typing import Any

from ..errors import StudyError
from .parsing import parse_seconds

DURATIONS = ("time_limit", "silence_limit")


def read_config(path: str) -> dict[str, Any]:
    """Read settings from a TOML file; names are those of `Settings`.

    Raises:
        StudyError: the file can't be read, or isn't TOML.
    """
    try:
        values = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise StudyError(f"config: {path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"config: {path} must be TOML, but: {error}") from None
    for name in DURATIONS:
        if isinstance(values.get(name), str):
            try:
                values[name] = parse_seconds(values[name])
            except StudyError as error:
                raise StudyError(f"{name}: {error}") from None
    return values
