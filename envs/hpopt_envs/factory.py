"""Environments from their settings: what `gymnasium.make` and workers call."""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch

from .episode.environment import FineTuneEnv
from .errors import WorldError
from .models import trust_remote_code
from .settings import EnvironmentSettings
from .worlds import world_of


def make_env(
    task: str = EnvironmentSettings.task,
    model: str | None = None,
    space: str | Mapping[str, Any] | None = None,
    *,
    render_mode: str | None = None,
    **settings: Any,
) -> FineTuneEnv:
    """Build the environment of a task, in the task's world.

    Args:
        task: see `hpopt_envs.worlds.world_of` and `hpopt_envs.tasks.load_task`.
        model: a Hugging Face id, a local path or "module:factory"; the task's own by default.
        space: a name, a TOML file, or `SearchSpace.to_dict()`; the task's own by default.
        render_mode: "ansi", or None for none.
        settings: the other fields of `hpopt_envs.EnvironmentSettings`, which explains them.

    Raises:
        SpaceError, WorldError: one line, where something can't be had or doesn't fit.
    """
    settings = {"task": task, "model": model, "space": space, **settings}
    asked = EnvironmentSettings.of(settings)
    torch.set_num_threads(1)
    trust_remote_code(asked.trust_remote_code)
    world = world_of(asked.task)
    if asked.script.given and not world.runs_commands:
        name = next(iter(asked.script.given))
        raise WorldError(f"{name}: must be left out for task {asked.task!r}, which is no command")
    module, _, name = world.build.partition(":")
    run, resolved = getattr(import_module(f".{module}", __package__), name)(asked)
    moves = world.may_move and any(resolved.dynamic)
    view = asked.view or ("relative" if moves else "absolute")
    return FineTuneEnv(
        run,
        resolved,
        view=view,
        validate_segments=asked.validate_segments,
        render_mode=render_mode,
        made_by=partial(make_env, render_mode=render_mode, **settings),
    )
