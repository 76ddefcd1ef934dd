"""What a study knows, as a pure fold over the events of its journal.

Metering, resume, tracking, and the display all use it, so that they can't disagree.
"""

import math
import textwrap
from bisect import bisect_left, insort
from dataclasses import dataclass, replace
from typing import Any

from hpopt_envs.messages import Reply, Start, reply_from_json, request_from_json
from hpopt_envs.records import Outcome, RunFacts, Segment, Trial

from ..errors import StudyError
from .lines import Event

TOKENS = "num_input_tokens_seen"  # as a script reports what it costs, where it doesn't leave it
FIRST_TEST = 1_000_000  # of a final's trials, so that an extended study's keep their numbers


@dataclass(frozen=True)
class Improvement:
    """A trial that ended better than every one before it, within the limit on divergence.

    Attributes:
        cost: token-equivalents that the search had spent when it ended.
        training_tokens: task tokens that the search had trained on when it ended.
        value: its objective, as minimised.
        trial: its id.
    """

    cost: float
    training_tokens: int
    value: float
    trial: int


class History:
    """The state of a study after the events applied so far.

    Attributes:
        header: the study event; empty before it.
        settings: those of the header, with what extensions changed since.
        trials: by id, in the order in which they were started; running ones included.
        tests: ids of trials that are judged on the test split too; they are never the best.
        entrants: of those since the study was last extended, by id, what they test.
        chosen: why trials are trained as they are, where their searcher says so, by id.
        running: trial by worker.
        paused: ids of trials that were set aside and may go on, on any worker.
        best: the trial of lowest value among those that can win and keep the limit on divergence,
            if there is one; the earlier of equal ones.
        improvements: how the best came to be, one entry a new best.
        cost: token-equivalents spent, set-up, lost work and finals included.
        search_cost: the same without finals.
        training_tokens: task tokens that the search trained on, lost work included.
        overshoot_tokens: those of them that ended trials trained on past their horizon.
        longest_seconds: that any trial took so far.
    """

    def __init__(self) -> None:
        self.header: Event = {}
        self.settings: dict[str, Any] = {}
        self.trials: dict[int, Trial] = {}
        self.tests: set[int] = set()
        self.entrants: dict[int, str] = {}
        self.chosen: dict[int, dict[str, Any]] = {}
        self.running: dict[int, int] = {}
        self.paused: set[int] = set()
        self.best: Trial | None = None
        self.improvements: list[Improvement] = []
        self.cost = 0.0
        self.search_cost = 0.0
        self.training_tokens = 0
        self.overshoot_tokens = 0
        self.longest_seconds = 0.0
        self._facts: RunFacts | None = None
        # Of ended trials by segment, under the limit on divergence, sorted.
        self._objectives: dict[int, list[float]] = {}

    @property
    def facts(self) -> RunFacts:
        """What is fixed for the study.

        Raises:
            StudyError: the study event hasn't been applied.
        """
        if self._facts is None:
            raise StudyError("a journal must begin with its study, but it doesn't")
        return self._facts

    def apply(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            StudyError: no version of hpopt up to this one writes such an event, at this point.
        """
        try:
            self._apply(event)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise StudyError(
                f"an event must follow from those before it, but {textwrap.shorten(str(event), 80)}"
                f" doesn't: the journal was changed or damaged"
            ) from error

    def _apply(self, event: Event) -> None:
        match event["event"]:
            case "study":
                self._begin(event)
            case "decision":
                self._decide(event)
            case "reply":
                self._take(event["worker"], event["trial"], reply_from_json(event["reply"]))
            case "closed":
                self._end(event["worker"], event["trial"], Outcome.STOPPED, pruned=event["pruned"])
            case "paused":
                del self.running[event["worker"]]
                self.paused.add(event["trial"])
            case "unpaused":
                self.paused.remove(event["trial"])
                self.running[event["worker"]] = event["trial"]
            case "lost":
                self._spend(event["trial"], event["cost"], event["tokens"])
            case "chosen":
                self.chosen[event["trial"]] = event["why"]
            case "extended":
                self._extend(event)
            case "refused" | "resumed":
                pass  # matters to replay alone
            case unknown:
                raise StudyError(
                    f"an event must be one that this version of hpopt knows, got {unknown!r}"
                )

    @property
    def cost_unit(self) -> str:
        """What costs are counted in."""
        if not self.facts.external:
            return "token-equivalents"
        ends = (s.metrics for trial in self.trials.values() for s in trial.segments)
        return "tokens" if any(TOKENS in metrics for metrics in ends) else "seconds"

    def rank(self, trial: Trial) -> float:
        """Return the share of ended trials that were better at the segment where this one is.

        Returns:
            In [0, 1]; 0 where there is nothing to compare.
        """
        objective = self._constrained(trial.segments[-1]) if trial.segments else None
        others = self._objectives.get(len(trial.segments) - 1)
        if objective is None or not others:
            return 0.0
        return bisect_left(others, objective) / len(others)

    def _constrained(self, segment: Segment) -> float | None:
        if segment.objective is None:
            return None
        return self.facts.constrained(segment.objective, segment.metrics)

    def _begin(self, event: Event) -> None:
        self.header = event
        self.settings = dict(event["settings"])
        self._facts = RunFacts(**event["facts"])
        self.cost = self.search_cost = self._facts.setup_cost

    def _extend(self, event: Event) -> None:
        """Change settings, and give up the final, which is held again at the new end."""
        self.settings |= event["settings"]
        self.entrants.clear()
        self.running = {w: trial for w, trial in self.running.items() if trial not in self.tests}

    def _decide(self, event: Event) -> None:
        request = request_from_json(event["request"])
        if isinstance(request, Start):
            if request.trial in self.trials:
                raise ValueError("it has begun")
            self.trials[request.trial] = Trial(id=request.trial, seed=request.seed)
            self.running[event["worker"]] = request.trial
            if request.test:
                self.tests.add(request.trial)
                if request.entrant:
                    self.entrants[request.trial] = request.entrant

    def _take(self, worker: int, trial: int, reply: Reply) -> None:
        if self.running[worker] != trial:
            raise ValueError("it isn't running there")
        if reply.segment is not None:
            old = self.trials[trial]
            if reply.segment.id != len(old.segments):
                raise ValueError("it isn't the next one")
            segments = (*old.segments, reply.segment)
            self.trials[trial] = replace(old, segments=segments)
            seconds = sum(segment.wall_seconds for segment in segments)
            self.longest_seconds = max(self.longest_seconds, seconds)
            self._spend(trial, reply.segment.cost, reply.segment.tokens)
        if reply.outcome is not None:
            self._end(worker, trial, reply.outcome, reply.reason, reply.value)

    def _spend(self, trial: int, cost: float, tokens: int) -> None:
        self.cost += cost
        if trial not in self.tests:
            self.search_cost += cost
            self.training_tokens += tokens

    def _end(
        self,
        worker: int | None,
        trial: int,
        outcome: Outcome,
        reason: str = "",
        value: float | None = None,
        pruned: bool = False,
    ) -> None:
        ended = replace(
            self.trials[trial], outcome=outcome, reason=reason, value=value, pruned=pruned
        )
        self.trials[trial] = ended
        self.paused.discard(trial)
        if worker is not None:
            self.running.pop(worker, None)
        if trial in self.tests:
            return
        self.overshoot_tokens += max(0, ended.trained_tokens - self.facts.trial_tokens)
        for segment in ended.segments:
            objective = self._constrained(segment)
            if objective is not None:
                insort(self._objectives.setdefault(segment.id, []), objective)
        if not ended.can_win or value is None or not math.isfinite(value):
            return
        if not self.facts.feasible(ended.segments[-1].metrics):
            return
        if self.best is None or self.best.value is None or value < self.best.value:
            self.best = ended
            self.improvements.append(
                Improvement(self.search_cost, self.training_tokens, value, trial)
            )


def last_cost(history: History) -> float:
    """Return what the study had spent when its last trial stood where it does; at least 1.

    In an extended study that includes the final before the extension, as trials' costs do.
    """
    return max([history.search_cost, 1.0, *(t.segments[-1].study_cost for t in _searched(history))])


def _searched(history: History) -> list[Trial]:
    return [t for t in history.trials.values() if t.segments and t.id not in history.tests]
