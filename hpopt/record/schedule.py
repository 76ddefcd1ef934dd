"""A schedule: what a model is trained with over a run. It is what a study finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpopt_envs.records import RunFacts, Trial
from hpopt_search_spaces import Value

from ..wording import describe

WHOLE_RUN = 0.98  # of a trial; examples of many lengths don't fill it to the token


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
    def of(cls, trial: Trial, facts: RunFacts) -> "Schedule":
        """Return what led to a trial's final weights: its path, without what was rolled back.

        A script holds what it began with; how often it reported is no part of that.
        """
        if facts.external and trial.path:
            return cls.held(trial.path[-1].hyperparameters, facts)
        return cls(tuple((segment.hyperparameters, segment.tokens) for segment in trial.path))

    @classmethod
    def held(cls, hyperparameters: Mapping[str, Value], facts: RunFacts) -> "Schedule":
        """Return a configuration, held for a whole trial, which is a script's one segment."""
        if facts.external:
            return cls(((hyperparameters, facts.trial_tokens),))
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
