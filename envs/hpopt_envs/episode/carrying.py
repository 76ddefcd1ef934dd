"""An environment from one place to another: all of it but its training run, which is made anew."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..records import Trial
from .position import Tensors
from .state import EpisodeState

if TYPE_CHECKING:
    from .environment import FineTuneEnv

EPISODE = "_episode"  # its attribute


def carried(env: "FineTuneEnv") -> tuple[dict[str, Any], Trial, Tensors, dict[str, Any]]:
    """Return what `taken_up` needs beside a maker."""
    episode: EpisodeState = vars(env)[EPISODE]
    own = {name: value for name, value in vars(env).items() if name not in ("run", EPISODE)}
    return own, episode.trial, *episode.snapshot()


def taken_up(
    make: "Callable[[], FineTuneEnv]",
    own: Mapping[str, Any],
    trial: Trial,
    tensors: Tensors,
    meta: Mapping[str, Any],
) -> "FineTuneEnv":
    """Return an environment made anew, at the trial that another was at."""
    env = make()
    episode = EpisodeState.restore(env.run, tensors, meta)
    episode.trial = trial  # which may have ended
    vars(env).update(own, **{EPISODE: episode})
    return env
