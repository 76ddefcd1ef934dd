"""A controller in a plain PyTorch loop."""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import torch

from ..errors import ControllerError
from .measuring import measuring
from .run import FORGETTING_WEIGHT, LiveRun
from .snapshot import read_about
from .steering import Point, Probed

_steered: "WeakSet[torch.optim.Optimizer]" = WeakSet()


class Loop:
    """Finds the learning rate inside a loop of one's own; see `Controller` for what it does.

    It is a context manager: its `before_step` and `after_step` stand around each optimizer step,
    and no scheduler does. Processes that train one model together each have one.

    Args:
        model: that is trained.
        optimizer: over its parameters; the learning rates of its groups are where it looks.
        steps: optimizer steps of the whole run.
        loss: returns the loss of a fixed batch of training data, in nats; it is called in
            evaluation mode, without gradients.
        retained_loss: likewise, of text that is to be retained; None for none.
        forgetting_weight: what a nat of its rise counts beside a nat of loss.

    Raises:
        ControllerError: one line, on entering, where the run can't be steered.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
        loss: Callable[[], Any],
        retained_loss: Callable[[], Any] | None = None,
        forgetting_weight: float = FORGETTING_WEIGHT,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._loss, self._retained_loss = loss, retained_loss
        self._base_retained: float | None = None
        self._set: list[float] | None = None  # rates of the step that has begun
        self._begun = False
        self._run = LiveRun(
            model, optimizer, steps, self._probe, forgetting_weight=forgetting_weight
        )

    def __enter__(self) -> Self:
        if self._optimizer in _steered:
            raise ControllerError("optimizer: must have one Loop at once, but has another")
        _steered.add(self._optimizer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _steered.discard(self._optimizer)

    def before_step(self) -> float:
        """Set the learning rates of a step, before the optimizer takes it; return the first one.

        Raises:
            ControllerError: the run has had all of its steps, or the last one hasn't ended.
        """
        if self._optimizer not in _steered:
            raise ControllerError("Loop: must be entered, as in `with Loop(...) as loop`")
        if self._set is not None:
            raise ControllerError("after_step: must follow each before_step, but didn't")
        if self._run.taken >= self._run.asked.steps:
            raise ControllerError(f"steps: must cover the run, but were {self._run.taken}")
        if not self._begun:
            self._begun = True
            if self._retained_loss is not None:
                with measuring(self._model, self._optimizer):
                    self._base_retained = float(self._retained_loss())
            self._run.begin()
        self._set = self._run.set_rates()
        return self._set[0]

    def after_step(self) -> Point | None:
        """Take note of a step that was taken; probe, and go back, where that is due.

        Returns:
            What was probed and decided; None where nothing was.

        Raises:
            ControllerError: no step has begun, or something else set its learning rate.
        """
        if self._set is None:
            raise ControllerError("before_step: must come before each after_step, but didn't")
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        if any(abs(rate - own) > 1e-6 * own for rate, own in zip(rates, self._set, strict=True)):
            raise ControllerError(
                f"learning rates: must be left to the Loop, which set {self._set[0]:.3g}, but "
                f"something set {rates[0]:.3g}"
            )
        self._set = None
        return self._run.stepped()

    def save(self, path: Path) -> None:
        """Write its state and the best point, as safetensors; the rest is the loop's to save."""
        state = {**self._run.to_json(), "base_retained": self._base_retained}
        self._run.snapshot.save(path, json.dumps(state))

    def load(self, path: Path) -> None:
        """Go on as if nothing had happened; model and optimizer are what they were at `save`.

        Raises:
            ControllerError: it is the state of another run.
        """
        self._begun = True
        state = json.loads(read_about(path))
        self._base_retained = state["base_retained"]
        self._run.go_on(state, path)

    @property
    def schedule(self) -> dict[str, Any]:
        """What led to the weights as they are, as `schedule.json` has it."""
        return self._run.schedule({})

    def _probe(self) -> Probed:
        with measuring(self._model, self._optimizer):
            loss = float(self._loss())
            if self._retained_loss is None or self._base_retained is None:
                return Probed(loss)
            return Probed(loss, float(self._retained_loss()) - self._base_retained)
