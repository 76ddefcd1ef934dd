"""The world of hpopt: short fine-tuning runs as episodes of a Gymnasium environment.

`gymnasium.make("hpopt_envs:hpopt/FineTune-v0", task="simulated")` builds one.
"""

import gymnasium

from .environment import FineTuneEnv
from .errors import WorldError
from .factory import make_env
from .records import Control, Outcome, RunFacts, Segment, Trial
from .tasks import Data, Split, Task

__all__ = [
    "Control",
    "Data",
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

gymnasium.register("hpopt/FineTune-v0", entry_point="hpopt_envs.factory:make_env")
