"""A simulated environment whose segments take time, for workers to be killed in."""

import time
from collections.abc import Mapping
from typing import Any

from hpopt_envs import factory
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.records import Control
from hpopt_search_spaces import Value

SECONDS = 0.3  # of a segment


class SlowEnv(FineTuneEnv):
    """See above."""

    def train(
        self,
        hyperparameters: Mapping[str, Value],
        control: Control = Control.CONTINUE,
        **how: Any,
    ) -> Any:
        time.sleep(SECONDS)
        return super().train(hyperparameters, control, **how)


def make_env(**settings: Any) -> FineTuneEnv:
    """Return what `hpopt_envs.factory.make_env` does, but slow."""
    env = factory.make_env(**settings)
    return SlowEnv(env.run, env.space, view=env.view, validate_segments=env.validate_segments)
