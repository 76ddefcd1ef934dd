"""Classes as the text "module:Class" that studies know them by."""

import sys
from typing import Any

from .requiring import require


def reference_to(made: type[Any]) -> str:
    """Return "module:Class" of a class.

    Raises:
        AssertionError: it doesn't stand at the top of its module, where others could find it.
    """
    module = sys.modules.get(made.__module__)
    found = getattr(module, made.__qualname__, None)
    what = "must stand at the top of its module"
    require(found is made, f"class {made.__name__}", what, made.__qualname__)
    return f"{made.__module__}:{made.__qualname__}"
