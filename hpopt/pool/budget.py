"""What a study may spend, and whether another trial fits in."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hpopt_envs.records import RunFacts, Trial
from hpopt_search_spaces import SearchSpace, Value

from ..errors import StudyError
from ..record.history import History
from ..record.lines import Event


def full_run_cost(facts: RunFacts, space: SearchSpace) -> float:
    """Return the token-equivalents of a full-run equivalent.

    That is a full trial of the default configuration with its final validation, computed.
    """
    default = {**facts.fixed, **space.defaults()}
    return training_cost(facts, default, facts.trial_tokens) + facts.final_validation_cost


def training_cost(facts: RunFacts, hyperparameters: Mapping[str, Value], tokens: int) -> float:
    """Return the token-equivalents of training so many tokens, computed."""
    weights = ("divergence_weight", "final_divergence_weight")
    penalized = any(hyperparameters.get(name, 0.0) for name in weights)
    return tokens * (facts.token_cost + (facts.penalty_cost if penalized else 0.0))


@dataclass(frozen=True)
class Limits:
    """Limits of a study; the first one reached ends it. None: no such limit.

    Attributes:
        trials: full trials' worth of training tokens; what stopped trials save is given back.
        cost: token-equivalents, the final included.
        seconds: wall-clock time, the final included.
        target: a value, as minimised, that ends the study when a trial reaches it.
    """

    trials: int | None = None
    cost: float | None = None
    seconds: float | None = None
    target: float | None = None


LEAST_RUNS = 2  # of a final: the winner and the default, on one fresh seed


@dataclass(frozen=True)
class FinalPlan:
    """What is set aside for the final of a study.

    Attributes:
        entrants: schedules in it, at most.
        seeds: fresh ones that each is run on, at most; 0 for no final.
        share: of the search's cost that it may take, if it is at least two runs; None for as much
            as all entrants on all seeds cost.
        workers: that it is run on.
    """

    entrants: int = 0
    seeds: int = 0
    share: float | None = None
    workers: int = 1

    def cost(self, search_cost: float, run_cost: float) -> float:
        """Return the token-equivalents that the final of a search may cost.

        Args:
            search_cost: of the search.
            run_cost: of the dearest run of the final.
        """
        most = self.entrants * self.seeds * run_cost
        if self.share is None:
            return most
        return min(most, max(LEAST_RUNS * run_cost, self.share * search_cost))


NO_FINAL = FinalPlan()


class Budget:
    """Decides whether a whole trial, the dearest of the space, or the rest of one can be paid for.

    Args:
        limits: of the study.
        facts: of its training run.
        validate_segments: whether trials are validated between segments.
        final: what is set aside for it.
        seconds_before: time spent by earlier processes on this study.
        cost_before: token-equivalents of finals before the study was extended.
    """

    def __init__(
        self,
        limits: Limits,
        facts: RunFacts,
        validate_segments: bool,
        final: FinalPlan = NO_FINAL,
        seconds_before: float = 0.0,
        cost_before: float = 0.0,
    ) -> None:
        self.limits = limits
        self._facts = facts
        between = facts.validation_cost if validate_segments else 0.0
        token_cost = facts.token_cost + facts.penalty_cost
        self.segment_cost = facts.segment_tokens * token_cost + between
        """Token-equivalents of the dearest segment."""
        self.trial_cost = facts.segments * self.segment_cost + facts.final_validation_cost
        """Token-equivalents of the dearest trial, rounded up by one validation."""
        self.run_cost = self.trial_cost + facts.final_validation_cost
        """Token-equivalents of the dearest run of the final, which is tested too."""
        self._final = final
        self._cost_before = cost_before
        self._started = time.monotonic() - seconds_before

    def check_first_trial(self) -> None:
        """Make sure that the cost limit pays for a trial.

        Raises:
            StudyError: it doesn't.
        """
        least = self._whole_cost(self._facts.setup_cost + self.trial_cost)
        if self.limits.cost is not None and self.limits.cost < least:
            raise StudyError(
                f"cost: must be at least {least:,.0f} token-equivalents, for one trial and the "
                f"final, but got {self.limits.cost:,.0f}"
            )

    def _whole_cost(self, search_cost: float) -> float:
        """Return what a study costs with a search of so much, and with its final."""
        return search_cost + self._final.cost(search_cost, self.run_cost) + self._cost_before

    def lost_cost(self, history: History) -> float:
        """Return what a segment that came to nothing is charged: the dearest there can be.

        Where that isn't known before, it is the dearest so far.
        """
        if not self._facts.external:
            return self.segment_cost
        segments = (s for trial in history.trials.values() for s in trial.segments)
        return max((segment.cost for segment in segments), default=0.0)

    def final_cost(self, history: History) -> float:
        """Return the token-equivalents that the final after a search may cost.

        Of a script's trials, whose cost isn't known before, it is how many may be run.
        """
        if self._facts.external:
            return self._final.cost(float(searched(history)), 1.0)
        allowed = self._final.cost(history.search_cost, self.run_cost)
        if self.limits.cost is None:
            return allowed
        return min(allowed, self.limits.cost - history.search_cost - self._cost_before)

    def final_seconds(self, search_cost: float, history: History) -> float:
        """Return how long the final after a search of so much takes at most, as far as is known."""
        if self._facts.external:
            runs = self._final.cost(float(searched(history)), 1.0)
        else:
            runs = self._final.cost(search_cost, self.run_cost) / self.run_cost
        return self._seconds(runs, history)

    def allows_round(self, history: History, runs: int) -> bool:
        """Return whether the time limit leaves time for so many more runs of the final."""
        limit = self.limits.seconds
        return limit is None or self.elapsed_seconds() + self._seconds(runs, history) <= limit

    def _seconds(self, runs: float, history: History) -> float:
        """Return how long so many runs of the final take over all workers."""
        return math.ceil(runs / self._final.workers) * self._trial_seconds(history)

    def allows(self, history: History, paused: int | None = None) -> bool:
        """Return whether a trial may start beside those that run, which keep what they may need.

        Args:
            history: of the study.
            paused: whether this trial may go on to its end, in place of a new one.
        """
        limits, best = self.limits, history.best
        done = Trial(id=-1, seed=0) if paused is None else history.trials[paused]
        open_trials = [history.trials[trial] for trial in history.running.values()]
        value = None if best is None else best.value
        if limits.target is not None and value is not None and value <= limits.target:
            return False
        if limits.trials is not None and self._facts.external:
            # Ended early or not, as how long a trial would have been isn't known.
            if searched(history) + 1 > limits.trials:
                return False
        elif limits.trials is not None:
            needed = self._tokens(history) + sum(
                max(0, self._facts.trial_tokens - trial.trained_tokens)
                for trial in [*open_trials, done]
            )
            if needed > limits.trials * self._facts.trial_tokens:
                return False
        total = history.search_cost
        total += sum(max(0.0, self.trial_cost - trial.cost) for trial in [*open_trials, done])
        if limits.cost is not None and self._whole_cost(total) > limits.cost:
            return False
        if limits.seconds is not None:
            left = max(0.0, 1.0 - done.trained_tokens / self._facts.trial_tokens)
            needed_seconds = left * self._trial_seconds(history)
            needed_seconds += self.final_seconds(total, history)
            if self.elapsed_seconds() + needed_seconds > limits.seconds:
                return False
        return True

    def left(self, history: History) -> float:
        """Return the share of the budget that is left, in [0, 1]: the least over all limits."""
        limits, shares = self.limits, [1.0]
        if limits.trials is not None and self._facts.external:
            ended = searched(history) - len(set(history.running.values()) - history.tests)
            shares.append(1.0 - ended / limits.trials)
        elif limits.trials is not None:
            tokens = limits.trials * self._facts.trial_tokens
            shares.append(1.0 - self._tokens(history) / tokens)
        if limits.cost is not None:
            shares.append(1.0 - self._whole_cost(history.search_cost) / limits.cost)
        if limits.seconds is not None:
            shares.append(1.0 - self.elapsed_seconds() / limits.seconds)
        return max(0.0, min(shares))

    def _trial_seconds(self, history: History) -> float:
        """Return the longest trial's time, scaled up while none was trained to its end."""
        if self._facts.external:
            return history.longest_seconds
        most = max((trial.trained_tokens for trial in history.trials.values()), default=0)
        if not most:
            return 0.0
        return history.longest_seconds * max(1.0, self._facts.trial_tokens / most)

    def _tokens(self, history: History) -> int:
        """Return training tokens, but for what trials trained past their horizon.

        Where examples differ in length, that is up to an optimizer step a trial, which must not
        cost a study its last trial.
        """
        return history.training_tokens - history.overshoot_tokens

    def elapsed_seconds(self) -> float:
        """Return the time spent on the study so far, by earlier processes too."""
        return time.monotonic() - self._started


def searched(history: History) -> int:
    """Return how many trials the search began."""
    return len(history.trials) - len(history.tests)


def active_seconds(events: Iterable[Event]) -> float:
    """Return how long a journal was being written: the gaps before a resumption don't count."""
    total, last = 0.0, None
    for event in events:
        if last is not None and event["event"] != "resumed":
            total += max(0.0, event["time"] - last)
        last = event["time"]
    return total
