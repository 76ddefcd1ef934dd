"""The world of hpopt: short fine-tuning runs as episodes of a Gymnasium environment.

`gymnasium.make("hpopt_envs:hpopt/FineTune-v0", task="simulated")` builds one. Records are light;
what needs torch is imported when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

from .errors import WorldError
from .records import Control, Outcome, RunFacts, Segment, Trial
from .settings import EnvironmentSettings

if TYPE_CHECKING:
    from .episode.environment import FineTuneEnv
    from .factory import make_env
    from .tasks import Data, Split, Task

__all__ = [
    "Control",
    "Data",
    "EnvironmentSettings",
    "FineTuneEnv",
    "Outcome",
    "RunFacts",
    "Segment",
    "Split",
    "Task",
    "Trial",
    "WorldError",
    "make_env",
]

_LAZY = {
    "Data": "tasks",
    "FineTuneEnv": "episode.environment",
    "Split": "tasks",
    "Task": "tasks",
    "make_env": "factory",
}

gymnasium.register("hpopt/FineTune-v0", entry_point="hpopt_envs.factory:make_env")
gymnasium.register("hpopt/Nano-v0", vector_entry_point="hpopt_envs.nano.vector:make_nano")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
