"""A study's winner as it is exported: what is held, and what changes over the run."""

from dataclasses import dataclass
from typing import Any

from hpopt_envs.records import Trial
from hpopt_envs.tasks import ParametricLoss, Task
from hpopt_envs.tasks.suite import BUILT_IN
from hpopt_envs.training.hyperparameters import extremes
from hpopt_search_spaces import SearchSpace, Value

from ..errors import StudyError
from ..record.history import History
from ..wording import limit, objective

MOVING = (  # what exported code can change during a run
    *("learning_rate", "schedule_shape", "warmup_fraction", "final_fraction"),
    *("batch_size", "divergence_weight", "final_divergence_weight"),
)
WHOLE_RUN = 0.98  # of a trial; examples of many lengths don't fill it to the token
LONGER = "A longer run may want a lower learning rate."


@dataclass(frozen=True)
class Schedule:
    """The winner's hyperparameters.

    Attributes:
        study: its name.
        history: of the study.
        best: the winner.
        stretches: of the run, in order: "until" which fraction of it, in (0, 1], and what of
            `MOVING` holds there.
        held: the other hyperparameters, which hold from the start to the end.
        varied: names of those that are neither in `MOVING` nor held.
        reach: fraction of a trial that the run takes: shapes are laid out over a whole one.
    """

    study: str
    history: History
    best: Trial
    stretches: tuple[dict[str, Value], ...]
    held: dict[str, Value]
    varied: tuple[str, ...]
    reach: float

    @classmethod
    def of(cls, study: str, history: History) -> "Schedule":
        """Read the winner's path.

        Raises:
            StudyError: the study has no winner.
        """
        best = history.best
        if best is None:
            raise StudyError(
                f"export: must be a study with a winner, but no trial of {study!r} has ended with "
                f"a value{limit(history.facts)}"
            )
        path = best.path
        trained = path[-1].training_tokens
        stretches: list[dict[str, Value]] = []
        for segment in path:
            values = {n: v for n, v in segment.hyperparameters.items() if n in MOVING}
            if stretches and values == {n: v for n, v in stretches[-1].items() if n != "until"}:
                stretches.pop()
            stretches.append({"until": segment.training_tokens / trained, **values})
        first = path[0].hyperparameters
        others = {n for segment in path for n in segment.hyperparameters if n not in MOVING}
        varied = {n for n in others if any(s.hyperparameters.get(n) != first.get(n) for s in path)}
        reach = trained / history.facts.trial_tokens
        return cls(
            study=study,
            history=history,
            best=best,
            stretches=tuple(stretches),
            held={n: v for n, v in first.items() if n in others - varied},
            varied=tuple(sorted(varied)),
            reach=1.0 if reach >= WHOLE_RUN else reach,
        )

    @property
    def shaped(self) -> bool:
        """Whether learning rates change with the position within a stretch."""
        return any(
            s.get("schedule_shape", "constant") != "constant" or s.get("warmup_fraction", 0) != 0
            for s in self.stretches
        )

    @property
    def steady(self) -> bool:
        """Whether it is a configuration, with a shape that a trainer knows."""
        return len(self.stretches) == 1 and (self.reach == 1.0 or not self.shaped)

    @property
    def kind(self) -> type[Task] | None:
        """The task's class; None for what isn't built in."""
        task = BUILT_IN.get(self.history.facts.task)
        return None if task is None else task.kind

    @property
    def penalized(self) -> bool:
        """Whether there ever is a penalty on divergence beside the task's loss."""
        kind, weight = self.kind, "divergence_weight"
        if kind and issubclass(kind, ParametricLoss) and weight in kind.hyperparameters:
            return False
        names = ("divergence_weight", "final_divergence_weight")
        return any(float(s.get(name, 0.0)) > 0.0 for s in self.stretches for name in names)

    @property
    def batch_sizes(self) -> list[Value]:
        """Those that the schedule has, in order."""
        return [stretch["batch_size"] for stretch in self.stretches]

    def found_at(self) -> dict[str, Any]:
        """What the schedule was found at, and may not hold far from."""
        facts = self.history.facts
        space = SearchSpace.from_dict(self.history.header["space"])
        searched = extremes(space["batch_size"]) if "batch_size" in space else self.batch_sizes
        assert self.best.value is not None
        return {
            "study": self.study,
            "task": facts.task,
            "model": facts.model,
            "training_tokens": self.best.path[-1].training_tokens,
            "sequence_tokens": facts.sequence_length,
            "batch_range": [min(searched), max(searched)],
            "objective": objective(facts) + limit(facts),
            "value": facts.shown(self.best.value),
        }

    def document(self) -> dict[str, Any]:
        """The schedule as data, JSON's."""
        return {
            **self.found_at(),
            "note": f"Positions are fractions of the run. {LONGER}",
            "fraction_of_a_trial": self.reach,
            "segments": [
                {
                    "until_fraction": segment.training_tokens / self.best.path[-1].training_tokens,
                    "hyperparameters": dict(segment.hyperparameters),
                }
                for segment in self.best.path
            ],
        }
