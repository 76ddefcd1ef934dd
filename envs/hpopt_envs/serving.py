"""One environment at work: a request in, a reply out, wherever it runs."""

import errno
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .episode.environment import FineTuneEnv
from .episode.snapshots import Unsaved, read_snapshot
from .episode.state import trial_in
from .errors import WorldError, describe
from .messages import Advance, End, Reply, Request, Save, Start, digest_of
from .records import Control, Outcome, Trial

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no other trial would fare better


def build(factory: str, settings: Mapping[str, Any]) -> FineTuneEnv:
    """Build an environment from what a pipe can carry.

    Args:
        factory: "module:function".
        settings: its keyword arguments, as JSON carries them.
    """
    module, _, name = factory.partition(":")
    env = getattr(importlib.import_module(module), name)(**settings)
    if not isinstance(env, FineTuneEnv):
        raise WorldError(f"{factory}: must return a FineTuneEnv, but got {type(env).__name__}")
    return env


def serve(env: FineTuneEnv, request: Request) -> Reply:
    """Serve a request. What goes wrong inside a trial is its outcome, with a reason."""
    try:
        if isinstance(request, Start):
            return _start(env, request)
        if isinstance(request, Save):
            return _save(env, request)
        if isinstance(request, End):
            env.close()
            return Reply()
        return _advance(env, request)
    except Exception as error:
        # A task or a model of the user's may raise anything; the study goes on without the trial.
        if isinstance(error, Unsaved) or getattr(error, "errno", None) in FULL:
            return Reply(stuck=str(error))
        return Reply(outcome=Outcome.FAILED, reason=describe(error))


def _start(env: FineTuneEnv, request: Start) -> Reply:
    if request.snapshot is not None:
        observation = env.load(Path(request.snapshot), request.study)
        _check_owner(env.trial, request)
    else:
        observation, _ = env.reset(
            seed=request.seed,
            options={
                "trial": request.trial,
                "initial": request.initial,
                "fixed": request.fixed,
                "test": request.test,
                "study": request.study,
            },
        )
    return Reply(tuple(observation.tolist()))


def _advance(env: FineTuneEnv, request: Advance) -> Reply:
    env.set_study(request.study)
    if request.hyperparameters is None:
        observation, reward, _, _, info = env.step(request.action)
    else:
        observation, reward, _, _, info = env.train(
            request.hyperparameters,
            Control.STOP if request.last else Control.CONTINUE,
            tokens=request.tokens,
            probe=request.probe,
            roll_back=request.roll_back,
        )
    trial = info.get("trial")
    # What an explosion left behind is worth nothing.
    snapshot = request.snapshot if trial is None or trial.value is not None else None
    if snapshot is not None:
        env.save(Path(snapshot))
    return Reply(
        observation=tuple(observation.tolist()),
        reward=reward,
        segment=info["segment"],
        outcome=trial.outcome if trial else None,
        reason=trial.reason if trial else "",
        value=trial.value if trial else None,
        snapshot=snapshot,
    )


def _save(env: FineTuneEnv, request: Save) -> Reply:
    tensors, meta = read_snapshot(Path(request.snapshot))
    _check_owner(trial_in(meta), request)
    env.run.save_weights(env.run.restore(tensors, meta["state"]), Path(request.folder))
    return Reply(snapshot=request.snapshot)


def _check_owner(trial: Trial, request: Start | Save) -> None:
    """Make sure that a snapshot is of the trial that is meant, and taken where it stands."""
    if request.digest and digest_of(trial) != request.digest:
        raise WorldError(f"{request.snapshot}: must be of the study's own trial, but isn't")
