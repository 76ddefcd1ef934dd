"""One run under control: its optimizer's rates, its best point, its probes."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hpopt_search_spaces import Value

from ..errors import ControllerError
from .measuring import from_first
from .snapshot import Snapshot
from .steering import Asked, Point, Probed, steer

FORGETTING_WEIGHT = 0.1  # as of language models on data of one's own


class LiveRun:
    """What the hosts in other people's code have in common.

    Args:
        model: that is trained.
        optimizer: a torch optimizer; it holds the learning rates that are asked for.
        steps: optimizer steps of the whole run.
        probe: measures the model as it is; calls must be comparable.
        warmup_steps: see `Asked`.
        forgetting_weight: likewise.

    Raises:
        ControllerError: no group has a learning rate above 0, or another number is impossible.

    Attributes:
        asked: of the run.
        taken: optimizer steps so far.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        steps: int,
        probe: Callable[[], Probed],
        *,
        warmup_steps: int = 0,
        forgetting_weight: float,
    ) -> None:
        self._optimizer, self._probe = optimizer, probe
        rates = [float(g.get("initial_lr", g["lr"])) for g in optimizer.param_groups]
        rate = next((rate for rate in rates if 0 < rate < math.inf), None)
        if rate is None:
            raise ControllerError(f"learning_rate: must be above 0, but got {rates[0]}")
        if steps < 1:
            raise ControllerError(f"steps: must be at least 1, but got {steps}")
        if not 0 <= forgetting_weight < math.inf:
            raise ControllerError(
                f"forgetting_weight: must be finite and at least 0, but got {forgetting_weight}"
            )
        self.asked = Asked(rate, steps, warmup_steps, forgetting_weight)
        self._shares = [share / rate for share in rates]
        self.snapshot = Snapshot(model, optimizer)
        self.taken = 0

    @property
    def is_steered(self) -> bool:
        """Whether the run is long enough for a ramp."""
        return self.asked.steps >= self.asked.fewest_steps

    def begin(self) -> None:
        """Measure the model that the run begins with, and be ready to go back to it.

        Raises:
            ControllerError: its loss is no finite number above 0.
        """
        loss = self._shared_probe().loss if self.is_steered else math.nan
        if self.is_steered and not 0 < loss < math.inf:
            raise ControllerError(
                f"loss: must be finite and above 0 before the first step, but is {loss} on "
                "the probe batch"
            )
        self.base_loss = loss
        self._steering = steer(self.asked, loss)
        if self.is_steered:
            self.snapshot.take()

    def rates(self) -> list[float]:
        """Return the learning rate of each parameter group in the next step."""
        rate = self._steering.rate(self.taken)
        return [share * rate for share in self._shares]

    def set_rates(self) -> list[float]:
        """Give the optimizer the learning rates of the next step, and return them."""
        rates = self.rates()
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], torch.Tensor):  # a compiled step reads it in place
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        return rates

    def stepped(self) -> Point | None:
        """Take note of an optimizer step; where a stretch ends, probe, and go back if need be."""
        self.taken += 1
        if self.taken < self._steering.due:
            return None
        point = self._steering.see(self._shared_probe())
        if point.best:
            self.snapshot.take()
        if point.back_to is not None:
            self.snapshot.restore()
        return point

    def _shared_probe(self) -> Probed:
        """Measure; every process does, and the first one's numbers count."""
        probed = self._probe()
        risen = probed.forgetting
        return Probed(from_first(probed.loss), None if risen is None else from_first(risen))

    def to_json(self) -> dict[str, Any]:
        """Return what a run that goes on needs beside `snapshot`, as plain data."""
        seen = [probed.to_json() for probed in self._steering.seen]
        return {
            "asked": asdict(self.asked),
            "base_loss": None if math.isnan(self.base_loss) else self.base_loss,
            "taken": self.taken,
            "seen": seen,
        }

    def go_on(self, state: dict[str, Any], path: Path) -> None:
        """Go on from where a run was, instead of `begin`; model and optimizer are there already.

        Args:
            state: what `to_json` returned.
            path: of its snapshot.

        Raises:
            ControllerError: it was another run.
        """
        for name, now in asdict(self.asked).items():
            before = state["asked"][name]
            if now != before:
                raise ControllerError(
                    f"{name}: must be {before}, as in the run that goes on, but got {now}"
                )
        self.taken = state["taken"]
        self.base_loss = math.nan if state["base_loss"] is None else state["base_loss"]
        self._steering = steer(self.asked, self.base_loss)
        for probed in state["seen"]:
            self._steering.see(Probed.from_json(probed))
        if self.is_steered:
            self.snapshot.load(path)

    def schedule(self, held: dict[str, Value]) -> dict[str, Any]:
        """Return what led to the weights as they are, as `schedule.json` has it.

        Args:
            held: hyperparameters that are the same all along.
        """
        schedule = self._steering.schedule(self.taken, held)
        return {
            "configuration": "controller" if self.is_steered else "held",
            "optimizer_steps": schedule.training_tokens,  # steps stand for tokens there
            "note": "Positions are fractions of the run, without what was rolled back.",
            "fraction_of_a_trial": self._steering.reach(self.taken),
            "segments": schedule.to_json(),
        }


def write_schedule(schedule: dict[str, Any], path: Path) -> None:
    """Write `schedule.json`."""
    path.write_text(json.dumps(schedule, indent=2) + "\n", encoding="utf-8")
