"""Writes what follows from definitions in the code: python scripts/reference.py.

That is the pages of settings, hyperparameters, the observation and actions in docs/reference, and
what type checkers know of `hpopt.search`'s keywords. A test fails where one of them is out of date.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hpopt.cli.options import groups_of
from hpopt.comparison.settings import COMPARISON_FIELDS
from hpopt.settings.fields import Field
from hpopt.settings.study import FIELDS
from hpopt_envs import Control, make_env
from hpopt_envs.episode.actions import CONTROL_EDGES, VIEWS, ActionLayout, action_space
from hpopt_envs.episode.features import FEATURES, OBSERVATION_VERSION
from hpopt_envs.training.hyperparameters import HYPERPARAMETERS
from hpopt_search_spaces import Value

ROOT = Path(__file__).parents[1]
WRITTEN = "<!-- Written by scripts/reference.py. -->\n\n"
CONTROLS = {
    Control.CONTINUE: "trains a segment",
    Control.STOP: "ends the trial after the segment",
    Control.ROLL_BACK: "before the segment, goes back to the best point; where there is none, to "
    "the base weights",
    Control.PROBE: "after the segment, measures the loss on the trial's probe batch; the segment's "
    "explosion then ends no trial, but for the last one's, and can be rolled back",
}
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


def actions() -> str:
    """Return the page of actions, in the space that most tasks have."""
    space = make_env("simulated").space
    absolute, relative, discrete = (action_space(view, space) for view in VIEWS)
    layout, edges = ActionLayout.of(space), (-1.0, *CONTROL_EDGES, 1.0)
    moving = [name for name, dynamic in zip(space.names, space.dynamic, strict=True) if dynamic]
    moves = (
        (
            f"`{name}`",
            ", ".join(f"{index}: {2 * index / (size - 1) - 1:g}" for index in range(size)),
        )
        for name, size in zip(moving, layout.sizes, strict=True)
    )
    single = (
        (f"{2 * k + 1}, {2 * k + 2}", f"`{name}` an octave down, up")
        for k, name in enumerate(moving)
    )
    controls = (
        (
            f"`{control.name}`",
            CONTROLS[control],
            f"{edges[control.value]:g} to {edges[control.value + 1]:g}",
            str(control.value),
            str(control.value and layout.discrete_actions - len(Control) + control.value),
        )
        for control in Control
    )
    return (
        f"# Actions\n\n{WRITTEN}"
        "What an agent says before each segment: hyperparameters and a control, in one of three "
        f"views. This is how they look in the space `{space.name}`, which has "
        f"{', '.join(f'`{name}`' for name in space.names)}, all dynamic. What isn't dynamic is set "
        "by the first action in the view absolute, and stays as the trial began in the others.\n\n"
        f"## absolute\n\n`{absolute}`: where each hyperparameter is in its range, from −1 to 1 "
        "(evenly in its logarithm where it has a log scale), then the control. What lies beyond "
        "is clipped.\n\n"
        f"## relative\n\n`{relative}`: an index for each dynamic hyperparameter, then the "
        f"control's.\n\n{table(('hyperparameter', 'index: octaves'), moves)}\n"
        f"## discrete\n\n`{discrete}`: one index, which changes one thing.\n\n"
        f"{table(('index', 'meaning'), [('0', 'all stays'), *single, ('above', 'a control')])}"
        "\n## Controls\n\n"
        "The best point is that of the lowest objective, what a limit on divergence adds included; "
        "without validation between segments, that of the lowest probe loss.\n\n"
        + table(("control", "what it does", *VIEWS), controls)
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
    "docs/reference/actions.md": actions,
    "hpopt/settings/keywords.py": keywords,
}

if __name__ == "__main__":
    for path, text in FILES.items():
        (ROOT / path).write_text(text(), encoding="utf-8")
