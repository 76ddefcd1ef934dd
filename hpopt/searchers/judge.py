"""What is known of a task so far, and what the value networks make of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from hpopt_envs.records import Outcome, RunFacts
from hpopt_search_spaces import Value

from ..policies.grid import RISE
from ..policies.sight import MOST_LEFT, RAMP_CHANNELS, Sight
from ..policies.values import Values, refined
from .cells import BATCH, RATE, WEIGHT, Cells

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial


@dataclass(frozen=True)
class Choice:
    """A configuration that the networks expect the most of.

    Attributes:
        values: native and legal, of the whole space.
        why: see `MeteredPool.explain`; beside "text", "rates" are the grid's learning rates,
            "expected" has the regrets there by divergence weight and batch size, "row" says which
            of these it is; "loss" and "objective" are what the ramp saw, None for what isn't known.
    """

    values: Mapping[str, Value]
    why: Mapping[str, Any]


class Judge:
    """What is known of a task so far, and what the networks make of it.

    Args:
        networks: what they say is the regret expected of each configuration.
        cells: of the space.
        facts: of the training run.

    Attributes:
        cells: of the space.
    """

    def __init__(self, networks: Values, cells: Cells, facts: RunFacts) -> None:
        self.cells = cells
        self._networks, self._facts = networks, facts
        self._weight = facts.forgetting_weight / facts.objective_scale
        default = float(cells.rate.default)
        legal = cells.legal
        self._ramp = torch.full((cells.levels, len(RAMP_CHANNELS)), torch.nan)
        self._gains = torch.full((cells.levels, len(legal)), torch.nan)
        self._open = legal.expand(cells.levels, -1).clone()  # what is neither tried nor under way
        self._sight = Sight(
            ramps=self._ramp[None],
            base_loss=torch.tensor([facts.base_loss]),
            forgetting_weight=torch.tensor([self._weight]),
            steps=torch.tensor([float(cells.steps)]),
            adapters=torch.tensor([float(facts.lora)]),
            default=torch.tensor([cells.level_of(default)]),
            gains=self._gains[None],
            left=torch.tensor([float(MOST_LEFT)]),
        )

    def see(self, segment: "Segment") -> None:
        """Take in what a level of a ramp showed."""
        level, _ = self.cells.place(segment.hyperparameters)
        if segment.probe_loss is None:
            return
        forgetting = segment.probe_forgetting or 0.0
        shown = torch.tensor([segment.probe_loss, forgetting, segment.gradient_norm])
        lost = not bool(shown.isfinite().all())
        self._ramp[level] = torch.inf if lost else shown

    def choose(self, left: int) -> Choice | None:
        """Return the configuration that the networks expect the most of; None if none is left.

        It counts as under way from then on. Its learning rate is refined between the grid's.

        Args:
            left: trials that are still to be chosen, this one included.
        """
        if not bool(self._open.any()):
            return None
        self._sight.left.fill_(min(left, MOST_LEFT))
        mean, spread = self._networks.predict(self._sight)
        expected = torch.where(self._open, mean[0], torch.inf)
        cell = int(expected.min(0).values.argmin())
        level, offset = refined(expected[:, cell])
        values = self.cells.values(cell, level + offset)
        self._open[level, cell] = False
        regret, sure = (float(one[0, level, cell]) for one in (mean, spread))
        rows = self.cells.legal.nonzero()[:, 0].tolist()
        why = {
            "text": f"expected regret {regret:.2f} ± {sure:.2f} at {self._told(values)}",
            "learning_rate": values[RATE],
            "row": rows.index(cell),
            "expected": [{**self.cells.shown(r), "regret": _plain(mean[0, :, r])} for r in rows],
        }
        return Choice(values, why | self._ramped())

    def _told(self, values: Mapping[str, Value]) -> str:
        names = [name for name in (RATE, BATCH, WEIGHT) if name in values]
        return ", ".join(f"{name}={_shown(values[name])}" for name in names)

    def seen(self, found: float) -> dict[str, Any]:
        """Return what the ramp showed, see `Choice.why`, where it found a learning rate."""
        objective, text = self._objective(), f"on with learning_rate={found:.4g}"
        if bool(objective.isfinite().any()):
            lowest = int(objective.nan_to_num(torch.inf).argmin())
            last = int((~objective.isnan()).nonzero().max())
            rates = [self.cells.rate_at(level) for level in (lowest, last)]
            limit = float(objective[lowest]) + RISE * self._facts.base_loss
            ended = "ended" if objective[last] <= limit else "rose"
            text = f"the ramp was lowest at {rates[0]:.4g} and {ended} at {rates[1]:.4g}; {text}"
        return {"text": text, **self._ramped()}

    def _ramped(self) -> dict[str, Any]:
        rates = [float(f"{self.cells.rate_at(k):.6g}") for k in range(self.cells.levels)]
        return {
            "rates": rates,
            "loss": _plain(self._ramp[:, 0]),
            "objective": _plain(self._objective()),
        }

    def _objective(self) -> torch.Tensor:
        """Return the objective at the ramp's levels, nats, shape (L,); NaN for what isn't known."""
        loss, forgetting = self._ramp[:, 0], self._ramp[:, 1]
        return torch.where(loss.isinf(), loss, loss + self._weight * forgetting)

    def learn(self, values: Mapping[str, Value], trial: "Trial") -> None:
        """Take in how a trial ended that held a configuration."""
        level, cell = self.cells.place(values)
        self._open[level, cell] = False
        if trial.outcome is not Outcome.FAILED:  # which says nothing of the configuration
            self._gains[level, cell] = self._gain(trial)

    def _gain(self, trial: "Trial") -> float:
        """Return (base objective − objective)/base loss, in nats whatever the objective is."""
        metrics = trial.segments[-1].metrics if trial.segments else {}
        if trial.value is None or "loss" not in metrics:
            return -math.inf
        value = metrics["loss"] + self._weight * metrics.get("forgetting", 0.0)
        value = self._facts.constrained(value, metrics)
        return (self._facts.base_metrics["loss"] - value) / self._facts.base_loss


def _plain(numbers: torch.Tensor) -> list[float | None]:
    """Return numbers to four digits, as JSON has them; None for those that aren't finite."""
    return [float(f"{n:.4g}") if math.isfinite(n) else None for n in numbers.tolist()]


def _shown(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
