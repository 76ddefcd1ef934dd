"""Writes what type checkers know of `hpopt.search`'s keywords: python scripts/keywords.py.

They follow from the definitions of the settings; a test fails where the file is out of date.
"""

import re
from pathlib import Path
from typing import Any

from hpopt.settings.study import FIELDS
from hpopt_search_spaces import Value

PATH = Path(__file__).parents[1] / "hpopt" / "settings" / "keywords.py"
HEAD = '''"""The keywords of `hpopt.search`, for type checkers; written by scripts/keywords.py."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from hpopt_search_spaces import Value


class SearchKeywords(TypedDict, total=False):
    """Settings of a study by their flat names; `python -m hpopt search --help` explains each."""

'''


def annotation(kind: Any) -> str:
    """How the type of a setting is written."""
    text = kind.__name__ if type(kind) is type else str(kind)
    return re.sub(r"\b(typing|collections\.abc)\.", "", text).replace(str(Value), "Value")


def text() -> str:
    """What the file must hold."""
    return HEAD + "".join(f"    {f.name}: {annotation(f.annotation)}\n" for f in FIELDS.values())


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
