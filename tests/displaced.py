"""Spaces whose defaults are others, as for somebody whose task nobody fitted them to."""

from collections.abc import Mapping
from typing import Any

from hpopt_search_spaces import SearchSpace, Value, load_space


def displaced(
    defaults: Mapping[str, Value], space: str | Mapping[str, Any] = "default"
) -> dict[str, Any]:
    """Return a space with the legal defaults nearest to some; ranges in octaves go with them."""
    loaded = load_space(space) if isinstance(space, str) else SearchSpace.from_dict(space)
    return loaded.with_defaults(loaded.nearest(defaults)).to_dict()
