"""A schedule: what a model is trained with over a run. It is what a study finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpopt_envs.records import RunFacts, Trial
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import SearchSpace, Value

from ..errors import StudyError
from ..wording import describe, limit, objective
from .history import History

WHOLE_RUN = 0.98  # of a trial; examples of many lengths don't fill it to the token
LONGER = "A longer run may want a lower learning rate."


def default_configuration(space: SearchSpace, facts: RunFacts) -> dict[str, Value]:
    """Return all hyperparameters of the default configuration, or of the baseline in its place."""
    return HELD_SHAPE | dict(facts.fixed) | space.defaults() | dict(facts.baseline)


@dataclass(frozen=True)
class Stretch:
    """A part of a run in which nothing changes.

    Attributes:
        begin, end: fractions of the run, in [0, 1].
        hyperparameters: all of them, native values.
    """

    begin: float
    end: float
    hyperparameters: Mapping[str, Value]


@dataclass(frozen=True, repr=False)
class Schedule:
    """What a model is trained with, segment by segment; a configuration is one that never changes.

    Attributes:
        segments: hyperparameters (all of them, native values) and task tokens of each.
    """

    segments: tuple[tuple[Mapping[str, Value], int], ...]

    def __repr__(self) -> str:
        parts = "; ".join(f"{span} {describe(values)}" for span, values in self.spans)
        return f"<Schedule of {self.training_tokens} tokens: {parts}>"

    @classmethod
    def of(cls, trial: Trial) -> "Schedule":
        """Return what led to a trial's final weights: its path, without what was rolled back."""
        return cls(tuple((segment.hyperparameters, segment.tokens) for segment in trial.path))

    @classmethod
    def held(cls, hyperparameters: Mapping[str, Value], facts: RunFacts) -> "Schedule":
        """Return a configuration, held for a whole trial."""
        return cls(((hyperparameters, facts.segment_tokens),) * facts.segments)

    @property
    def hyperparameters(self) -> list[dict[str, Value]]:
        """Those of each segment."""
        return [dict(values) for values, _ in self.segments]

    @property
    def training_tokens(self) -> int:
        """Of the whole run."""
        return sum(tokens for _, tokens in self.segments)

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The run's parts of equal hyperparameters, in order; they cover it."""
        total, trained = self.training_tokens, 0
        found: list[Stretch] = []
        for values, tokens in self.segments:
            begin, trained = trained / total, trained + tokens
            if found and found[-1].hyperparameters == values:
                begin = found.pop().begin
            found.append(Stretch(begin, trained / total, values))
        return tuple(found)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the stretches as plain data."""
        return [
            {"until_fraction": part.end, "hyperparameters": dict(part.hyperparameters)}
            for part in self.stretches
        ]

    @property
    def spans(self) -> list[tuple[str, Mapping[str, Value]]]:
        """The stretches for people: "0%–12%" of the run, and what holds there."""
        stretches = self.stretches
        # A controller's first steps are less than a percent each.
        digits = int(any(s.end - s.begin < 0.01 for s in stretches))
        return [(f"{s.begin:.{digits}%}–{s.end:.{digits}%}", s.hyperparameters) for s in stretches]

    def reach(self, facts: RunFacts) -> float:
        """Return the fraction of a trial that the run takes, over which shapes are laid out."""
        reach = self.training_tokens / facts.trial_tokens
        return 1.0 if reach >= WHOLE_RUN else reach


@dataclass(frozen=True)
class Winner:
    """A study's winner: its schedule, and what that was found at, far from which it may not hold.

    Attributes:
        history: of the study.
        best: the winning trial.
        schedule: its own.
    """

    history: History
    best: Trial
    schedule: Schedule

    @classmethod
    def of(cls, history: History, what: str) -> "Winner":
        """Return the winner of a study.

        Args:
            history: of the study.
            what: is asked for, as errors begin with it.

        Raises:
            StudyError: there is none.
        """
        best = history.best
        if best is None or best.value is None:
            raise StudyError(
                f"{what}: must be a study with a winner, but no trial of "
                f"{history.header['name']!r} has ended with a value{limit(history.facts)}"
            )
        return cls(history, best, Schedule.of(best))

    @property
    def value(self) -> float:
        """The winner's objective as its user knows it."""
        assert self.best.value is not None
        return self.history.facts.shown(self.best.value)

    @property
    def reach(self) -> float:
        """See `Schedule.reach`."""
        return self.schedule.reach(self.history.facts)

    def to_json(self) -> dict[str, Any]:
        """Return what `schedule.json` holds, wherever that is written."""
        facts = self.history.facts
        return {
            "study": self.history.header["name"],
            "trial": self.best.id,
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
