"""Whether a task of fine-tuning is one."""

import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from hpopt_envs.factory import make_env
from hpopt_envs.models import model_hash, tensor_bytes
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.settings import EnvironmentSettings
from hpopt_envs.tasks import Data, Reference, Rollouts, Split, Task, Writing, load_task
from hpopt_envs.tasks.base import BASE_SEED
from hpopt_envs.tasks.checks import check_training
from hpopt_envs.tasks.data import split_size
from hpopt_envs.tasks.micro_batches import parts
from hpopt_envs.tasks.objective import set_objective
from hpopt_envs.worlds import world_of

from .references import reference_to
from .requiring import checking, require, untouched_generators
from .training_run import check_training_run

EXAMPLES = 5  # that methods are tried on, whole and in parts
PART = 2
# Batches of other sizes are added up in another order; padding may be of another length.
RELATIVE, ABSOLUTE = 1e-3, 1e-4
SPLITS = ("train", "validation", "test")
RETAINED = tuple(f"retained_{name}" for name in SPLITS)


def check_task(task: str | type[Task], **settings: Any) -> None:
    """Check a task, its model and its data, and a training run of them.

    - `load_data` returns the same at every call, and splits of tensors with as many rows;
      `load_model` and `prepare` make the same weights;
    - `loss_sum` is a finite scalar with gradients, `loss_count` above 0, and both add up over the
      parts of a batch, as do the `example_tokens`, which are above 0;
    - `predict` returns a row for each example, and changes neither the model nor the batch;
    - `metrics` has finite numbers, among them the objective and "loss";
    - where the task compares distributions, `logits` fit their mask, and that `logits_count`;
    - where it writes, `write` returns as many rows as there are examples, or none, each with the
      texts "prompt" and "text";
    - none of them, but for `rollout` and `write`, draws from torch's global generator or sets it,
      or from those of random and numpy;
    - a training run of it keeps what `check_training_run` asks for.

    Tasks that train nothing, "simulated" and "table:...", are checked for the last alone.

    Args:
        task: "module:Class", the name of an installed or built-in task, or a class that stands at
            the top of its module.
        **settings: of its environment, as `hpopt_envs.make_env` takes them; a small `trial_tokens`
            makes it quick.

    Raises:
        AssertionError: one line: what must hold, and what was got.
    """
    name = task if isinstance(task, str) else task.__name__
    where = f"task {name}"
    with checking(where):
        asked = {**settings, "task": task if isinstance(task, str) else reference_to(task)}
        if world_of(asked["task"]).trains:
            _check_methods(EnvironmentSettings.of(asked), where)
        env = make_env(**asked)
    check_training_run(env.run, {**HELD_SHAPE, **env.facts.fixed, **env.space.defaults()})


def _check_methods(settings: EnvironmentSettings, where: str) -> None:
    tasks = [load_task(settings.task, settings.data) for _ in range(2)]
    first, again = (_load(task, settings, where, n > 0) for n, task in enumerate(tasks))
    for split in (*SPLITS, *RETAINED):
        same = _split_hash(getattr(again[0], split)) == _split_hash(getattr(first[0], split))
        what = f"must return the same {split} at every call"
        require(same, f"{where}: load_data()", what, "another one")
    same = model_hash(again[1]) == model_hash(first[1])
    what = "must make the same weights at every call"
    require(same, f"{where}: load_model() and prepare()", what, "others")
    data, model = first
    check_training(tasks[0], model, data)
    _Methods(tasks[0], model.eval(), data, where).check()


def _load(
    task: Task, settings: EnvironmentSettings, where: str, watched: bool
) -> tuple[Data, torch.nn.Module]:
    """Return data and model, complete; what is imported the first time may draw."""

    def calm(method: str) -> AbstractContextManager[None]:
        return untouched_generators(f"{where}: {method}()", seed=1) if watched else nullcontext()

    set_objective(task, settings.objective, settings.forgetting_weight)
    source = settings.model or task.default_model
    with calm("load_data"):
        data = task.load_data(source, settings.sequence_length)
    with calm("load_model"):
        model = task.load_model(source, BASE_SEED)
    with calm("prepare"):
        data, cost = task.prepare(model, data)
    what = "its token-equivalents must be finite and not negative"
    require(0 <= cost < math.inf, f"{where}: prepare()", what, cost)
    return data, model


class _Methods:
    """A task on the first examples of its splits, with the base model in evaluation mode."""

    def __init__(self, task: Task, model: torch.nn.Module, data: Data, where: str) -> None:
        self._task = task
        self._model = model
        self._data = data
        self._where = where

    def check(self) -> None:
        self._check_tokens(_first(self._data.train))
        self._check_loss(self._rolled_out(_first(self._data.train)))
        self._check_metrics(self._rolled_out(_first(self._data.validation)))
        if isinstance(self._task, Reference):
            self._check_logits(self._task)
        if isinstance(self._task, Writing):
            self._check_writing(self._task)

    def _calm(self, name: str, batch: Split, call: Callable[[], Any]) -> Any:
        """Call a method twice, and require that it only computes."""
        where = f"{self._where}: {name}"
        before = model_hash(self._model), _split_hash(batch)
        returned = []
        for seed in (0, 1):
            with untouched_generators(where, seed):
                returned.append(call())
                calm = not self._model.training
                require(calm, where, "must leave the model in its mode", "train()")
        after = model_hash(self._model), _split_hash(batch)
        require(after[0] == before[0], where, "must leave the model's weights", "others")
        require(after[1] == before[1], where, "must leave the batch as it is", "another")
        first, again = (_plain(value) for value in returned)
        require(first == again, where, "must return the same again", returned[1])
        return returned[0]

    def _rolled_out(self, batch: Split) -> Split:
        """Return what the loss and `predict` get."""
        task = self._task
        if not isinstance(task, Rollouts):
            return batch
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rows = split_size(batch) * task.samples_per_example
            rolled_out = task.rollout(self._model, batch, nullcontext)
        where, got = f"{self._where}: rollout()", split_size(rolled_out)
        require(got == rows, where, f"must return {rows} rows (samples_per_example)", got)
        weighed = self._calm("weigh()", rolled_out, lambda: task.weigh(rolled_out, {}))
        return dict(weighed)

    def _check_tokens(self, batch: Split) -> None:
        where = f"{self._where}: example_tokens()"
        tokens = self._calm("example_tokens()", batch, lambda: self._task.example_tokens(batch))
        counts = tokens.tolist()
        ours = tokens.shape == (split_size(batch),) and min(counts) > 0
        require(ours, where, f"must be {split_size(batch)} numbers above 0", counts)
        split = [n for p in parts(batch, PART) for n in self._task.example_tokens(p).tolist()]
        require(split == counts, where, f"must be {counts} in parts of the batch too", split)

    def _check_loss(self, batch: Split) -> None:
        task, model, where = self._task, self._model, f"{self._where}: loss_sum()"
        loss = self._calm("loss_sum()", batch, lambda: task.loss_sum(model, batch))
        value = float(loss.detach())
        require(math.isfinite(value), where, "must be finite", value)
        trained = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        finite = [bool(torch.isfinite(g).all()) for g in gradients if g is not None]
        what = "must have finite gradients of some weights"
        require(any(finite) and all(finite), where, what, f"{finite.count(False)} that aren't")
        with torch.no_grad():
            total = sum(float(task.loss_sum(model, part)) for part in parts(batch, PART))
        same = math.isclose(total, value, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        require(same, where, f"must add up to {value:g} over parts of the batch", total)
        count = self._calm("loss_count()", batch, lambda: task.loss_count(batch))
        require(count > 0, f"{self._where}: loss_count()", "must be above 0", count)
        counted = sum(task.loss_count(part) for part in parts(batch, PART))
        what = f"must add up to {count} over parts of the batch"
        require(counted == count, f"{self._where}: loss_count()", what, counted)

    @torch.no_grad()
    def _check_metrics(self, batch: Split) -> None:
        task, where = self._task, f"{self._where}: predict()"
        for part in (batch, next(parts(batch, 1))):
            size = split_size(part)
            outputs = self._calm("predict()", part, lambda: task.predict(self._model, part))  # noqa: B023 (called at once)
            for name, tensor in outputs.items():
                rows = tuple(tensor.shape)
                what = f"{name!r} must have a row for each of {size} examples"
                require(rows[:1] == (size,), where, what, f"shape {rows}")
        outputs = self._calm("predict()", batch, lambda: task.predict(self._model, batch))
        where = f"{self._where}: metrics()"
        metrics = self._calm("metrics()", outputs, lambda: task.metrics(outputs))
        needed = {"loss", task.objective} - set(_measured_elsewhere(task))
        for name in sorted(needed):
            require(name in metrics, where, f"must have {name!r}", sorted(metrics))
        for name, value in metrics.items():
            finite = math.isfinite(float(value))
            require(finite, where, f"{name!r} must be finite", value)

    @torch.no_grad()
    def _check_logits(self, task: Reference) -> None:
        retained = self._data.retained_validation
        batch = _first(self._data.validation if retained is None else retained)
        where = f"{self._where}: logits()"
        logits, mask = self._calm("logits()", batch, lambda: task.logits(self._model, batch))
        fits = logits.shape[:-1] == mask.shape and len(mask) == split_size(batch)
        fits = fits and mask.dtype == torch.bool
        what = "must be logits (n, ..., classes) and a boolean mask (n, ...)"
        got = f"{tuple(logits.shape)} and {mask.dtype} {tuple(mask.shape)}"
        require(fits, where, what, got)
        require(bool(torch.isfinite(logits[mask]).all()), where, "must be finite", "others")
        count, counted = task.logits_count(batch), int(mask.sum())
        what = f"the mask must count {count} distributions, as logits_count() does"
        require(counted == count, where, what, counted)
        total = sum(task.logits_count(part) for part in parts(batch, PART))
        what = f"must add up to {count} over parts of the batch"
        require(total == count, f"{self._where}: logits_count()", what, total)

    @torch.no_grad()
    def _check_writing(self, task: Writing) -> None:
        batch, where = _first(self._data.test), f"{self._where}: write()"
        before = model_hash(self._model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rows = task.write(self._model, batch)
        require(model_hash(self._model) == before, where, "must leave the model", "another")
        size = split_size(batch)
        require(len(rows) in (0, size), where, f"must return {size} rows or none", len(rows))
        for row in rows:
            texts = all(isinstance(row.get(name), str) for name in ("prompt", "text"))
            require(texts, where, 'each row must have the texts "prompt" and "text"', row)
            scored = "score" not in row or math.isfinite(float(row["score"]))
            require(scored, where, "a row's score must be finite", row.get("score"))


def _measured_elsewhere(task: Task) -> tuple[str, ...]:
    """Return names of metrics that training adds to those of a task."""
    return ("divergence", "forgetting") if isinstance(task, Reference) else ()


def _first(split: Split) -> Split:
    return {name: tensor[:EXAMPLES] for name, tensor in split.items()}


def _split_hash(split: Split | None) -> str:
    return repr(_plain(split))


def _plain(value: Any) -> Any:
    """Return what tensors hold, to be compared; NaN is the same as NaN."""
    if isinstance(value, torch.Tensor):
        return (
            str(value.dtype),
            tuple(value.shape),
            hashlib.sha256(tensor_bytes(value.detach())).hexdigest(),
        )
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(held) for held in value)
    return repr(value)
