"""What must hold of a task and its model before a study spends anything on them."""

import math
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import fields

import torch

from ..errors import WorldError, foreign
from .base import Task
from .data import Data, Split
from .roles import ROLES, Reference, Rollouts

TOKENS = ("input_ids", "prompt_ids", "source_ids")  # as built-in tasks' splits call them
EXAMPLES = 2  # that a task and a model are tried on


def check_roles(task: Task) -> None:
    """Make sure that nothing that a task defines is passed over.

    Raises:
        WorldError: it has a method of a role that it isn't in.
    """
    for role in ROLES:
        for method in sorted(role.__abstractmethods__ - Task.__abstractmethods__):
            mine = getattr(type(task), method, None)
            if not isinstance(task, role) and mine is not getattr(Task, method, None):
                raise WorldError(
                    f"task {task.name}: must be a hpopt_envs.tasks.{role.__name__}, since it "
                    f"defines {method}()"
                )


def check_embeddings(model: torch.nn.Module, data: Data) -> None:
    """Make sure that a model has an embedding for every token of its data.

    Tasks that load models by name say where a token is from; a factory's model doesn't say before
    it is made what it has.

    Raises:
        WorldError: it lacks one.
    """
    found = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    if hasattr(model, "get_input_embeddings"):
        with suppress(NotImplementedError):
            found = [model.get_input_embeddings()]  # type: ignore[operator]
    if len(found) != 1 or not isinstance(found[0], torch.nn.Embedding):
        return
    known = found[0].num_embeddings
    for f in fields(data):
        split = getattr(data, f.name)
        for name in TOKENS if isinstance(split, dict) else ():
            if name in split and int(split[name].max()) >= known:
                raise WorldError(
                    f"model: must have an embedding for every token, but has {known}, and "
                    f"{f.name.replace('_', ' ')} has token {int(split[name].max())}"
                )


def check_training(task: Task, model: torch.nn.Module, data: Data) -> None:
    """Try a task and a model on the first examples.

    Raises:
        WorldError: the model has nothing to train, a method of the task is missing or failed, or
            the loss isn't a finite scalar that depends on the weights.
    """
    if data.retained_train is not None and not isinstance(task, Reference):
        raise WorldError(
            f"task {task.name}: must be a hpopt_envs.tasks.Reference, with logits(), since it "
            "retains data"
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise WorldError(f"task {task.name}: its model must have weights that can be trained")
    model.eval()
    batch = _first(data.train)
    with foreign(f"task {task.name}: training on a batch"), torch.random.fork_rng(devices=[]):
        if isinstance(task, Rollouts):
            with torch.no_grad():  # the model is the base model here
                batch = task.weigh(task.rollout(model, batch, nullcontext), {})
        loss = task.loss_sum(model, batch) / task.loss_count(batch)
        scalar = isinstance(loss, torch.Tensor) and loss.shape == () and loss.requires_grad
        if not scalar or not math.isfinite(loss.detach()):
            got = f"shape {tuple(loss.shape)}" if getattr(loss, "shape", ()) else repr(loss)
            raise WorldError(
                f"task {task.name}: loss_sum() / loss_count() must be a finite scalar that "
                f"depends on the weights, but got {got}"
            )
        if isinstance(task, Reference):
            _check_logits(task, model, _first(data.retained_train or data.train))


def _check_logits(task: Reference, model: torch.nn.Module, batch: Split) -> None:
    logits, mask = task.logits(model, batch)
    if logits.shape[:-1] != mask.shape:
        raise WorldError(
            f"task {task.name}: logits() must return logits (n, ..., classes) and a mask "
            f"(n, ...), but got {tuple(logits.shape)} and {tuple(mask.shape)}"
        )
    if int(mask.sum()) != task.logits_count(batch):
        raise WorldError(
            f"task {task.name}: the mask of logits() must count what logits_count() does, "
            f"{task.logits_count(batch)}, but counts {int(mask.sum())}"
        )


def check_base(task: Task, metrics: Mapping[str, float]) -> None:
    """Check that the base model's metrics on validation are something to improve.

    Raises:
        WorldError: the objective isn't finite, or the loss isn't, or isn't above 0: what counts
            as an explosion is a multiple of it.
    """
    loss, value = metrics["loss"], metrics[task.objective]
    if not 0 < loss < math.inf or not math.isfinite(value):
        raise WorldError(
            f"task {task.name}: on validation, the base model's loss must be above 0 and its "
            f"{task.objective} finite, but got {loss} and {value}"
        )


def _first(split: Split) -> Split:
    return {name: tensor[:EXAMPLES] for name, tensor in split.items()}
