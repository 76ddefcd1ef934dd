"""What a study says to train with, why, and how sure that is."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

from hpopt_envs.records import Trial
from hpopt_envs.scripts.template import command_line
from hpopt_search_spaces import SearchSpace

from ..errors import StudyError
from ..wording import counted, limit, objective
from .final import BASELINE, DEFAULT, Final, incumbents_of
from .history import History
from .race import CONFIDENCE, Difference
from .schedule import Schedule

HIGHER = "; a higher --max-divergence, or none, lets more trials win"
LONGER = "A longer run may want a lower learning rate."


@dataclass(frozen=True)
class Recommended:
    """What a study recommends, and what that was found at, far from which it may not hold.

    Attributes:
        history: of the study.
        name: "trial 5", "default" or "baseline".
        schedule: to train with.
        final: that it was chosen in; None where there was none, and it is the search's winner.
    """

    history: History
    name: str
    schedule: Schedule
    final: Final | None

    @classmethod
    def of(cls, history: History, what: str) -> "Recommended":
        """Return what a study recommends so far.

        Args:
            history: of the study.
            what: is asked for, as errors begin with it.

        Raises:
            StudyError: no trial won.
        """
        best = history.best
        if best is None:
            raise StudyError(
                f"{what}: must be a study with a winner, but no trial of "
                f"{history.header['name']!r} has ended with a value{limit(history.facts)}"
                f"{HIGHER if history.facts.max_divergence is not None else ''}"
            )
        final = Final.of(history)
        if final is None or not final.is_over:
            return cls(history, f"trial {best.id}", Schedule.of(best, history.facts), None)
        return cls(history, final.recommended.name, final.recommended.schedule, final)

    @property
    def value(self) -> float | None:
        """The objective on validation as its user knows it: the mean over the final's seeds.

        That of the search where there was no final; None where every run of it failed.
        """
        facts, best = self.history.facts, self.history.best
        if self.final is None:
            assert best is not None
            assert best.value is not None
            return facts.shown(best.value)
        value = self.final.mean(self.name)
        return None if value is None else facts.shown(value)

    @property
    def base_value(self) -> float:
        """The objective of the base model on validation, as its user knows it."""
        return self.history.facts.shown(self.history.facts.base_objective)

    @property
    def gains(self) -> bool:
        """Whether it is better than the base model on validation."""
        if self.value is None:
            return False
        maximize = self.history.facts.maximize
        return self.value > self.base_value if maximize else self.value < self.base_value

    @property
    def default_value(self) -> float | None:
        """The objective of the default on validation; None where it was never trained."""
        trial = incumbents_of(self.history)[0].trial
        value = None if trial is None else trial.value
        if self.final is not None:
            value = self.final.mean(DEFAULT)
        return None if value is None else self.history.facts.shown(value)

    @property
    def test_value(self) -> float | None:
        """The objective on the test split, the mean over the final's seeds; None without one."""
        value = None if self.final is None else self.final.tested(self.name).mean
        return None if value is None else self.history.facts.shown(value)

    @property
    def trial(self) -> int | None:
        """The id of the search's trial that had the schedule; None where none had."""
        if self.final is None:
            return int(self.name.removeprefix("trial "))
        trial = self.final.entrant(self.name).trial
        return None if trial is None else trial.id

    @property
    def example(self) -> Trial | None:
        """The run whose weights show what it does: the final's first, or the search's winner."""
        if self.final is None:
            return self.history.best
        ended = [trial for trial in self.final.runs[self.name] if trial.value is not None]
        return ended[0] if ended else None

    @property
    def metrics(self) -> dict[str, float]:
        """Means on validation over the runs that the value is the mean of."""
        assert self.history.best is not None
        runs = [self.history.best] if self.final is None else self.final.runs[self.name]
        ends = [run.path[-1].metrics for run in runs if run.value is not None]
        names = dict.fromkeys(name for metrics in ends for name in metrics)
        return {n: mean(m[n] for m in ends if n in m) for n in names}

    @property
    def reach(self) -> float:
        """See `Schedule.reach`."""
        return self.schedule.reach(self.history.facts)

    @property
    def command(self) -> str | None:
        """What to type for a full run, where trials were a command of the user's own."""
        header = self.history.header
        script = header.get("environment", {}).get("script")
        if not script:
            return None
        off = {one["name"]: one["default"] for one in header["space"]["parameters"]}
        ours = {"seed": header["seed"], "folder": "output", "fraction": 1.0}
        values = {**off, **self.schedule.hyperparameters[0], **ours, "steps": script.get("steps")}
        return command_line(script["command"], values)

    @cached_property
    def why(self) -> str:
        """Why it was chosen and how sure that is, in a sentence."""
        if self.final is None:
            ended = len(self.history.trials) - len(self.history.tests)
            judged = "no final has judged it yet" if self.history.tests else "nothing was run again"
            return (
                f"{self.name.capitalize()} ended best of {counted(ended, 'trial')}; {judged} to "
                "tell that from luck."
            )
        told = _why(self.final, self.name)
        return f"{told[0].upper()}{told[1:]}."

    def to_json(self) -> dict[str, Any]:
        """Return what `schedule.json` holds, wherever that is written."""
        facts = self.history.facts
        return {
            "study": self.history.header["name"],
            "configuration": self.name,
            "trial": self.trial,
            "why": self.why,
            **({"command": self.command} if self.command else {}),
            "task": facts.task,
            "model": facts.model,
            "training_tokens": self.schedule.training_tokens,
            "sequence_tokens": facts.sequence_length,
            "batch_range": self.batch_range(),
            "objective": objective(facts) + limit(facts),
            "value": self.value,
            "note": f"Positions are fractions of the run. {LONGER}",
            "fraction_of_a_trial": self.reach,
            "segments": self.schedule.to_json(),
        }

    def batch_range(self) -> list[Any]:
        """Return the least and the greatest batch size that the search could try.

        Empty for finished runs whose table says none.
        """
        space = SearchSpace.from_dict(self.history.header["space"])
        held = [values for values, _ in self.schedule.segments]
        sizes: list[Any] = [values["batch_size"] for values in held if "batch_size" in values]
        if "batch_size" in space:
            sizes = [space["batch_size"].from_unit(end) for end in (0.0, 1.0)]
        return [min(sizes), max(sizes)] if sizes else []


def _the(name: str) -> str:
    """Return an entrant's name as it stands in a sentence."""
    return f"the {name}" if name in (DEFAULT, BASELINE) else name


def _why(final: Final, name: str) -> str:
    """Return why a final chose an entrant."""
    best = final.best
    if best is None:
        return f"{_the(name)} is kept, since every run on a fresh seed failed"
    if best != name:
        gain = final.difference(best, name)
        assert gain is not None
        told = f"{_the(name)} is kept: {_the(best)}"
        if not gain.mean:
            return f"{told} is no different on validation {_how_sure(gain)}"
        less = f"{told} is better by {_sized(gain)} on validation {_how_sure(gain)}"
        return f"{less}, which may be chance"
    if len(final.entrants) == 1:
        return f"{_the(name)} is kept, since no other trial could be recommended"
    rivals = [one for one in final.incumbents if one != name] or final.others(name)[:1]
    gains = {one: gain for one in rivals if (gain := final.difference(name, one)) is not None}
    if not gains:
        return f"{_the(name)} alone has a value on every fresh seed"
    if not any(gain.mean for gain in gains.values()):
        others = " and ".join(map(_the, gains))
        return f"{_the(name)} is as good as {others} on validation {_how_sure(*gains.values())}"
    told = " and ".join(f"than {_the(one)} by {_sized(gain)}" for one, gain in gains.items())
    return f"{_the(name)} is better {told} on validation {_how_sure(*gains.values())}"


def _sized(gain: Difference) -> str:
    if math.isinf(gain.uncertainty):
        return f"{gain.mean:.4f}"
    return f"{gain.mean:.4f} ± {gain.uncertainty:.4f}"


def _how_sure(*gains: Difference) -> str:
    """Return "(80% interval, 3 paired fresh seeds)"."""
    seeds = "one fresh seed"
    if max(gain.seeds for gain in gains) > 1:
        seeds = " and ".join(str(n) for n in dict.fromkeys(gain.seeds for gain in gains))
        seeds += " paired fresh seeds"
    if any(math.isinf(gain.uncertainty) for gain in gains):
        return f"({seeds}, the noise of which isn't known)"
    return f"({CONFIDENCE:.0%} interval, {seeds})"
