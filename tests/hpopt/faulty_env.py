"""A simulated environment in which training goes wrong on demand; worker processes import it."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpopt_envs import factory
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.records import Control
from hpopt_search_spaces import Value

Fault = Mapping[str, Any]


def make_env(faults: Sequence[Fault], folder: str, **settings: Any) -> FineTuneEnv:
    """What `hpopt_envs.factory.make_env` returns, with faults.

    Args:
        faults: each with "what" ("die", "raise" or "hang"), "trial" (None: any), "segment" (None:
            while a process starts), and "times" (how often it happens, whichever process it
            happens to).
        folder: remembers what happened.
        settings: of the simulated environment.
    """
    sound = factory.make_env(task="simulated", **settings)
    env = FaultyEnv(
        sound.run, sound.space, view=sound.view, validate_segments=sound.validate_segments
    )
    env.faults, env.folder = faults, Path(folder)
    env.fail(None)
    return env


class FaultyEnv(FineTuneEnv):
    faults: Sequence[Fault]
    folder: Path

    def train(
        self,
        hyperparameters: Mapping[str, Value],
        control: Control = Control.CONTINUE,
        **how: Any,
    ) -> Any:
        trial, segment = self.trial.id, len(self.trial.segments)
        trained = super().train(hyperparameters, control, **how)
        self.fail(segment, trial)
        return trained

    def fail(self, segment: int | None, trial: int | None = None) -> None:
        for number, fault in enumerate(self.faults):
            if fault["trial"] in (None, trial) and fault["segment"] == segment:
                self._happen(number, fault)

    def _happen(self, number: int, fault: Fault) -> None:
        happened = len(list(self.folder.glob(f"{number}-*")))
        if happened == fault["times"]:
            return
        (self.folder / f"{number}-{os.getpid()}-{happened}").touch()
        match fault["what"]:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise ValueError("the data set\nhas 0 examples")
            case "hang":
                while True:
                    pass
