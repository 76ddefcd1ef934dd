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


def judged(trials: Sequence[Trial]) -> Judged:
    ended = [(*_on_test(trial), trial.reason) for trial in trials]
    good = [(value, metrics) for value, metrics, _ in ended if value is not None]
    return Judged(
        values=tuple(value for value, _ in good),
        metrics=tuple(metrics for _, metrics in good),
        failures=tuple(reason for value, _, reason in ended if value is None),
    )


def _on_test(trial: Trial) -> tuple[float | None, Mapping[str, float]]:
    """Return a trial's objective and metrics on the test split."""
    end = trial.segments[-1] if trial.segments else None
    if trial.value is None or end is None:
        return None, {}
    if end.test_metrics:
        return end.test_objective, end.test_metrics
    return trial.value, end.metrics  # before 0.3, tests measured nothing else
