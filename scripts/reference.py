"""Writes what follows from definitions in the code: python scripts/reference.py.

That is the pages of settings, hyperparameters and the observation in docs/reference, and what type
checkers know of `hpopt.search`'s keywords. A test fails where one of them is out of date.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hpopt.cli.options import groups_of
from hpopt.comparison.settings import COMPARISON_FIELDS
from hpopt.settings.fields import Field
from hpopt.settings.study import FIELDS
from hpopt_envs.episode.features import FEATURES, OBSERVATION_VERSION
from hpopt_envs.training.hyperparameters import HYPERPARAMETERS
from hpopt_search_spaces import Value

ROOT = Path(__file__).parents[1]
WRITTEN = "<!-- Written by scripts/reference.py. -->\n\n"
HEAD = '''"""Keywords of `hpopt.search`, for type checkers; written by scripts/reference.py."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from hpopt_search_spaces import Value


class SearchKeywords(TypedDict, total=False):
    """Settings of a study by their flat names; `python -m hpopt search --help` explains each."""

'''


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def escaped(text: str) -> str:
    """Return a text in which brackets aren't a link's."""
    return text.replace("[", "\\[")


def grouped(fields: Iterable[Field]) -> str:
    """Return settings in the groups that `--help` has, a table each."""
    fields = tuple(fields)
    heads = ("setting", "value", "meaning")
    parts = []
    for group in groups_of(fields):
        members = [f for f in fields if f.about["group"] == group]
        rows = ((f"`{f.name}`", f"`{f.metavar}`", escaped(f.about["help"])) for f in members)
        parts.append(f"### {group[0].upper()}{group[1:]}\n\n{table(heads, rows)}")
    return "\n".join(parts)


def settings() -> str:
    """Return the page of settings."""
    own = [
        field
        for name, field in COMPARISON_FIELDS.items()
        if name not in FIELDS or field.about["help"] != FIELDS[name].about["help"]
    ]
    missing = ", ".join(f"`{name}`" for name in FIELDS if name not in COMPARISON_FIELDS)
    return (
        f"# Settings\n\n{WRITTEN}"
        "In Python and in files (`--config study.toml`) a setting has the name below. On the "
        "command line it is an option with hyphens: `trial_tokens` is `--trial-tokens`. The "
        "command line wins over the file.\n\n"
        f"## Of a study\n\n{grouped(FIELDS.values())}\n"
        f"## Of a comparison\n\n`compare` takes the same settings but for {missing}, which it "
        f"decides itself. These are its own, or mean something else there:\n\n{grouped(own)}"
    )


def hyperparameters() -> str:
    """Return the page of hyperparameters."""
    rows = (
        (f"`{name}`", known.meaning, known.rule[0], known.default or "must be said")
        for name, known in HYPERPARAMETERS.items()
    )
    return (
        f"# Hyperparameters\n\n{WRITTEN}"
        "What training understands. A search space searches them; `--fix NAME=VALUE,...` holds "
        "others.\n\n" + table(("hyperparameter", "meaning", "values", "where nothing says"), rows)
    )


def observation() -> str:
    """Return the page of the observation."""
    rows = (
        (str(index), f"`{f.name}`", f.unit, f"{f.low:g}", f"{f.high:g}")
        for index, f in enumerate(FEATURES)
    )
    return (
        f"# Observation\n\n{WRITTEN}"
        f"What an agent sees before each segment: a vector of {len(FEATURES)} numbers, float32, "
        f"version {OBSERVATION_VERSION}. It is the same whatever the search space. What isn't "
        "measured, or isn't in the space, is 0; what lies outside the bounds is clipped.\n\n"
        + table(("index", "name", "unit", "low", "high"), rows)
    )


def annotation(kind: Any) -> str:
    """Return how the type of a setting is written."""
    text = kind.__name__ if type(kind) is type else str(kind)
    return re.sub(r"\b(typing|collections\.abc)\.", "", text).replace(str(Value), "Value")


def keywords() -> str:
    """Return the module that types the keywords of `hpopt.search`."""
    return HEAD + "".join(f"    {f.name}: {annotation(f.annotation)}\n" for f in FIELDS.values())


FILES: dict[str, Callable[[], str]] = {
    "docs/reference/settings.md": settings,
    "docs/reference/hyperparameters.md": hyperparameters,
    "docs/reference/observation.md": observation,
    "hpopt/settings/keywords.py": keywords,
}

if __name__ == "__main__":
    for path, text in FILES.items():
        (ROOT / path).write_text(text(), encoding="utf-8")
