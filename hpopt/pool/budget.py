"""What a study may spend, and whether another trial fits in."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from hpopt_envs.records import RunFacts

from ..errors import StudyError
from ..history import History
from ..journal import Event


@dataclass(frozen=True)
class Limits:
    """Limits of a study; the first one reached ends it. None: no such limit.

    Attributes:
        trials: full trials' worth of training tokens; what stopped trials save is given back.
        cost: token-equivalents, the confirmation included.
        seconds: wall-clock time, the confirmation included.
        target: a value, as minimised, that ends the study when a trial reaches it.
    """

    trials: int | None = None
    cost: float | None = None
    seconds: float | None = None
    target: float | None = None


class Budget:
    """Decides whether another whole trial, the dearest of the space, can be paid for.

    Args:
        limits: of the study.
        facts: of its training run.
        validate_segments: whether trials are validated between segments.
        confirmations: trials that the confirmation at the end will run.
        seconds_before: time spent by earlier processes on this study.
        cost_before: token-equivalents of confirmations before the study was extended.
    """

    def __init__(
        self,
        limits: Limits,
        facts: RunFacts,
        validate_segments: bool,
        confirmations: int,
        seconds_before: float = 0.0,
        cost_before: float = 0.0,
    ) -> None:
        self.limits = limits
        self._facts = facts
        between = facts.validation_cost if validate_segments else 0.0
        self.segment_cost = facts.segment_tokens * (1.0 + facts.penalty_cost) + between
        """Token-equivalents of the dearest segment."""
        self.trial_cost = facts.segments * self.segment_cost + facts.final_validation_cost
        """Token-equivalents of the dearest trial, rounded up by one validation."""
        self._reserved = confirmations * self.trial_cost + cost_before
        self._confirmations = confirmations
        self._started = time.monotonic() - seconds_before

    def check_first_trial(self) -> None:
        """Make sure that the cost limit pays for a trial.

        Raises:
            StudyError: it doesn't.
        """
        least = self._facts.setup_cost + self.trial_cost + self._reserved
        if self.limits.cost is not None and self.limits.cost < least:
            raise StudyError(
                f"cost: must be at least {least:,.0f} token-equivalents, for one trial and the "
                f"confirmation, but got {self.limits.cost:,.0f}"
            )

    def allows(self, history: History) -> bool:
        """Whether a trial may start beside those that run, which keep what they may still need."""
        limits, best = self.limits, history.best
        open_trials = [history.trials[trial] for trial in history.running.values()]
        value = None if best is None else best.value
        if limits.target is not None and value is not None and value <= limits.target:
            return False
        if limits.trials is not None:
            kept = sum(
                max(0, self._facts.trial_tokens - trial.trained_tokens) for trial in open_trials
            )
            needed = self._tokens(history) + kept + self._facts.trial_tokens
            if needed > limits.trials * self._facts.trial_tokens:
                return False
        if limits.cost is not None:
            kept_cost = sum(max(0.0, self.trial_cost - trial.cost) for trial in open_trials)
            total = history.search_cost + kept_cost + self.trial_cost + self._reserved
            if total > limits.cost:
                return False
        if limits.seconds is not None:
            needed_seconds = (1 + self._confirmations) * history.longest_seconds
            needed_seconds += self.elapsed_seconds()
            if needed_seconds > limits.seconds:
                return False
        return True

    def left(self, history: History) -> float:
        """Share of the budget that is left, in [0, 1]: the least over all limits."""
        limits, shares = self.limits, [1.0]
        if limits.trials is not None:
            tokens = limits.trials * self._facts.trial_tokens
            shares.append(1.0 - self._tokens(history) / tokens)
        if limits.cost is not None:
            shares.append(1.0 - (history.search_cost + self._reserved) / limits.cost)
        if limits.seconds is not None:
            shares.append(1.0 - self.elapsed_seconds() / limits.seconds)
        return max(0.0, min(shares))

    def _tokens(self, history: History) -> int:
        """Training tokens, but for what trials trained past their horizon.

        Where examples differ in length, that is up to an optimizer step a trial, which must not
        cost a study its last trial.
        """
        over = (
            max(0, trial.trained_tokens - self._facts.trial_tokens)
            for trial in history.trials.values()
            if trial.id not in history.tests
        )
        return history.training_tokens - sum(over)

    def elapsed_seconds(self) -> float:
        """Time spent on the study so far, by earlier processes too."""
        return time.monotonic() - self._started


def active_seconds(events: Iterable[Event]) -> float:
    """Return how long a journal was being written: the gaps before a resumption don't count."""
    total, last = 0.0, None
    for event in events:
        if last is not None and event["event"] != "resumed":
            total += max(0.0, event["time"] - last)
        last = event["time"]
    return total
