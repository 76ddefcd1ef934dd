"""The learning rate of each optimizer step of a run, as a controller decides it, or held."""

import math
from dataclasses import asdict, dataclass

from hpopt_envs.schedules import shape_factor
from hpopt_search_spaces import FloatParameter, Value, round_significant

from ..controllers.protocol import Seen, Stretch
from ..controllers.range_test import LAST_GUARD, STRETCHES, fewest_steps, ramp_room, range_test
from ..record.schedule import Schedule

OCTAVES = (-6.0, 5.0)  # of learning rates around the given one, as in the default space


@dataclass(frozen=True)
class Asked:
    """What a run was asked for.

    Attributes:
        learning_rate: above 0.
        steps: optimizer steps of the whole run.
        warmup_steps: of those, for a rate that is held; a ramp takes its place otherwise.
        forgetting_weight: what a nat of forgetting costs, beside a nat of loss.
    """

    learning_rate: float
    steps: int
    warmup_steps: int
    forgetting_weight: float

    @property
    def range(self) -> FloatParameter:
        """The learning rates that may be tried."""
        name, octaves = "learning_rate", OCTAVES
        return FloatParameter(name, 0.0, 0.0, "auto", log=True, octaves=octaves).resolve(
            self.learning_rate
        )

    @property
    def fewest_steps(self) -> int:
        """Optimizer steps that a ramp over the range needs of a run."""
        return fewest_steps(self.range)


@dataclass(frozen=True)
class Probed:
    """What a probe showed, in nats.

    Attributes:
        loss: on the fixed batch of training data.
        forgetting: rise of the loss on retained text; None where nothing is retained.
    """

    loss: float
    forgetting: float | None = None

    def objective(self, weight: float) -> float:
        """Return loss + weight × forgetting; infinity where that is no number."""
        objective = self.loss + weight * (self.forgetting or 0.0)
        return objective if math.isfinite(objective) else math.inf

    def to_json(self) -> dict[str, float | None]:
        """Return it as plain data; what isn't finite is None, which JSON has."""
        return {
            n: v if v is not None and math.isfinite(v) else None for n, v in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: dict[str, float | None]) -> "Probed":
        """Return what `to_json` was made of; what wasn't finite as an explosion."""
        loss = data["loss"]
        return cls(math.inf if loss is None else loss, data["forgetting"])


@dataclass(frozen=True)
class Point:
    """A probe, and what was decided.

    Attributes:
        step: optimizer steps that were taken before it.
        rate: learning rate that it judges.
        probed: what it showed.
        objective: in nats, less is better; infinite where training exploded.
        best: whether it was better than all before.
        back_to: the step that the run went back to, 0 for its start; None where it goes on.
        why: a sentence where something was decided; empty where the ramp goes on.
    """

    step: int
    rate: float
    probed: Probed
    objective: float
    best: bool
    back_to: int | None
    why: str


class Steered:
    """A run that `range_test` decides.

    The rate is constant over a stretch, as it is in the pool's trials, so that the same is seen and
    decided here. In the last one it falls on a line to zero, around the rate that was decided; and
    that one is probed too, and undone where it made things worse.

    Args:
        asked: of the run, at least `Asked.fewest_steps` long.
        base_loss: of the model before the run, on the probe batch, in nats.

    Attributes:
        seen: the probes so far; the state of a run, since all else follows from them.
    """

    def __init__(self, asked: Asked, base_loss: float) -> None:
        self._asked = asked
        self._decisions = range_test(asked.range, base_loss, ramp_room(asked.steps))
        self._stretch = next(self._decisions)
        self._base_loss = base_loss
        self._begin = 0  # steps before the stretch
        self._undone = False  # the last stretch
        self._path: list[tuple[float, int]] = []  # rate and steps of what led to the weights
        self._best, self._best_path, self._best_step = math.inf, 0, 0
        self.seen: list[Probed] = []

    @property
    def due(self) -> int:
        """The step after which a probe is wanted next."""
        return self._asked.steps if self._stretch.last else self._begin + self._stretch.steps

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        if not self._stretch.last:
            return self._stretch.rate
        count = self._asked.steps - self._begin
        return 2 * self._stretch.rate * (count - step + self._begin) / (count + 1)

    def see(self, probed: Probed) -> Point:
        """Take in what a probe showed where it was due, and decide."""
        stretch, step = self._stretch, self.due
        self.seen.append(probed)
        objective = probed.objective(self._asked.forgetting_weight)
        before, best = self._best, objective < self._best
        if stretch.last:
            rise = LAST_GUARD * self._base_loss
            back = objective == math.inf or objective > before + rise
            self._undone = back
        else:
            self._path.append((stretch.rate, stretch.steps))
            left = self._asked.steps - step
            self._stretch = self._decisions.send(Seen(objective, False, (left,) * STRETCHES))
            self._begin, back = step, self._stretch.roll_back
        if best:
            self._best, self._best_path, self._best_step = objective, len(self._path), step
        if back:
            del self._path[self._best_path :]
        back_to = self._best_step if back else None
        why = self._why(stretch, objective, before, back_to)
        return Point(step, stretch.rate, probed, objective, best, back_to, why)

    def _why(self, stretch: Stretch, objective: float, before: float, back_to: int | None) -> str:
        on = "there it ends" if stretch.last else f"on from learning rate {self._stretch.rate:.3g}"
        if back_to is None:
            ends = stretch.in_ramp and not self._stretch.in_ramp
            higher = "a higher learning_rate may do better"
            return f"nothing rose up to the end of the range: {on}; {higher}" if ends else ""
        rose = f"the objective rose to {objective:.4g}, from {before:.4g} at best"
        rose = rose if objective < math.inf else "training exploded"
        return f"{rose}: back to step {back_to}, and {on}"

    def schedule(self, step: int, held: dict[str, Value]) -> Schedule:
        """Return what led to the weights after a step.

        Steps stand for tokens in it: batches are of one size, and only fractions come of them.

        Args:
            step: the last one that was taken.
            held: hyperparameters that are the same all along.
        """
        constant: dict[str, Value] = {"schedule_shape": "constant", "warmup_fraction": 0.0}
        parts: list[tuple[dict[str, Value], int]]
        parts = [({"learning_rate": r, **constant, **held}, steps) for r, steps in self._path]
        taken = 0 if self._undone else step - self._begin
        if taken and not self._stretch.last:
            parts.append(({"learning_rate": self._stretch.rate, **constant, **held}, taken))
        elif taken:
            # The line of `rate`, as shapes are laid out: over the whole path, which is shorter than
            # the run by what was rolled back.
            count, total = self._asked.steps - self._begin, taken + sum(s for _, s in self._path)
            missing = count - taken
            peak = 2 * self._stretch.rate * (total + missing) / (count + 1)
            line: dict[str, Value] = {
                "learning_rate": round_significant(peak),
                "schedule_shape": "linear",
                "warmup_fraction": 0.0,
                "final_fraction": missing / (total + missing),
            }
            parts.append(({**line, **held}, taken))
        return Schedule(tuple(parts))

    def reach(self, step: int) -> float:
        """Return the fraction of the run over which shapes are laid out: all of the path."""
        return 1.0


class Held:
    """A run too short for a ramp: the given learning rate with linear decay, and its warm-up.

    Args:
        asked: of the run.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._warmup = min(asked.warmup_steps, asked.steps - 1) / asked.steps
        self.due = asked.steps + 1  # never
        self.seen: list[Probed] = []

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        position = step / self._asked.steps
        return self._asked.learning_rate * shape_factor(position, "linear", self._warmup)

    def see(self, probed: Probed) -> Point:
        """Decide nothing, since no probe is due."""
        raise NotImplementedError

    def schedule(self, step: int, held: dict[str, Value]) -> Schedule:
        """Return what led to the weights after a step; see `Steered.schedule`."""
        line: dict[str, Value] = {
            "learning_rate": self._asked.learning_rate,
            "schedule_shape": "linear",
            "warmup_fraction": self._warmup,
        }
        return Schedule((({**line, **held}, step),))

    def reach(self, step: int) -> float:
        """Return the fraction of the run that was taken, over all of which its line is laid out."""
        return step / self._asked.steps


def steer(asked: Asked, base_loss: float) -> Steered | Held:
    """Return who decides a run; see the classes."""
    long_enough = asked.steps >= asked.fewest_steps
    return Steered(asked, base_loss) if long_enough else Held(asked)
