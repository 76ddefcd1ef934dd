"""What schedules came to on fresh seeds and the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from hpopt_envs.records import Trial


@dataclass(frozen=True)
class Judged:
    """One schedule's trials on the test split, one a seed; failed ones have no value.

    Attributes:
        values: objectives, as minimised.
        metrics: of each trial with a value.
        failures: reasons of those without.
    """

    values: tuple[float, ...]
    metrics: tuple[Mapping[str, float], ...]
    failures: tuple[str, ...]

    @property
    def mean(self) -> float | None:
        return mean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    def metric(self, name: str) -> float | None:
        """Mean of a metric over seeds; None where it wasn't measured."""
        found = [metrics[name] for metrics in self.metrics if name in metrics]
        return mean(found) if found else None


@dataclass(frozen=True)
class Confirmation:
    """The winner and the default configuration, judged alike; the same where the default won."""

    winner: Judged
    default: Judged
    default_won: bool


def judged(trials: Sequence[Trial]) -> Judged:
    good = [trial for trial in trials if trial.value is not None]
    return Judged(
        values=tuple(trial.value for trial in good if trial.value is not None),
        metrics=tuple(trial.segments[-1].metrics for trial in good),
        failures=tuple(trial.reason for trial in trials if trial.value is None),
    )
