"""Environments that share what was loaded: studies of one task in one process load it once."""

import json
from collections.abc import Mapping
from typing import Any

from hpopt_envs import factory
from hpopt_envs.episode.environment import FineTuneEnv

_loaded: dict[str, FineTuneEnv] = {}  # of one task, by the other arguments


def make_env(*, view: str, validate_segments: bool, **arguments: Any) -> FineTuneEnv:
    """Return what `hpopt_envs.factory.make_env` does, over a training run made before."""
    asked = json.dumps(arguments, sort_keys=True)
    if asked not in _loaded:
        place = _place(arguments)
        if any(_place(json.loads(other)) != place for other in _loaded):
            _loaded.clear()  # models may be large
        _loaded[asked] = factory.make_env(
            view=view, validate_segments=validate_segments, **arguments
        )
    made = _loaded[asked]
    return FineTuneEnv(made.run, made.space, view=view, validate_segments=validate_segments)


def _place(arguments: Mapping[str, Any]) -> tuple[str, float]:
    """Return what environments share that are kept together: the task, and where its block is."""
    return arguments["task"], arguments["displacement"]
