"""Settings in a file."""

import textwrap
import tomllib
from pathlib import Path
from typing import Any

from hpopt_search_spaces.loading import read_short

from ..errors import StudyError
from .parsing import parse_seconds

DURATIONS = ("time_limit", "silence_limit")


def read_config(path: str) -> dict[str, Any]:
    """Read settings from a TOML file; names are those of `Settings`.

    Raises:
        StudyError: the file can't be read, or isn't TOML.
    """
    try:
        values = tomllib.loads(read_short(Path(path)))
    except OSError as error:
        raise StudyError(f"config: {path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's own, too long numbers
        said = textwrap.shorten(str(error), 200)
        raise StudyError(f"config: {path} must be TOML, but: {said}") from None
    for name in DURATIONS:
        if isinstance(values.get(name), str):
            try:
                values[name] = parse_seconds(values[name])
            except StudyError as error:
                raise StudyError(f"{name}: {error}") from None
    return values
