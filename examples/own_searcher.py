"""A searcher of your own: hill climbing, by ask and tell.

    python -m hpopt search --agent own_searcher:HillClimbing --trials 12
    python -m hpopt compare --task simulated --agents own_searcher:HillClimbing,tpe --seeds 4

from this folder. It has the same standing as hpopt's own: budget, record, resume, comparison. Draws
are keyed by the plan's seed and the proposal's number, so that a killed study is resumed by asking
again. `hpopt.testing.check_searcher` says whether a searcher keeps such promises.
"""

import math
import random

from hpopt import AgentSpec, Proposal, SearchPlan
from hpopt_envs import RunFacts, Segment, Trial
from hpopt_search_spaces import SearchSpace

FAILURES = 3  # in a row, after which the step is halved


class HillClimbing:
    """Hill climbing: a normal step from the best so far, narrower where nothing better is found."""

    spec = AgentSpec()  # holds a configuration for a whole trial; takes no pruner

    def __init__(self, plan: SearchPlan, space: SearchSpace, facts: RunFacts) -> None:
        self._plan, self._space, self._facts = plan, space, facts
        self._best, self._value = space.default_unit, math.inf
        self._asked, self._failures, self._step = 0, 0, 0.25

    def ask(self) -> Proposal:
        number = self._asked
        self._asked += 1
        draw = random.Random(f"{self._plan.seed} {number}")
        point = self._best
        if number or self._plan.prior == "none":
            point = tuple(min(1.0, max(0.0, x + draw.gauss(0, self._step))) for x in point)
        return Proposal(number, self._space.decode(point))

    def report(self, proposal: Proposal, segment: Segment) -> bool:
        return False  # never stops a trial early

    def tell(self, proposal: Proposal, trial: Trial) -> None:
        value = math.inf  # of what exploded or failed
        if trial.value is not None:
            value = self._facts.constrained(trial.value, trial.segments[-1].metrics)
        if value < self._value:
            self._best, self._value = self._space.encode(proposal.values), value
            self._failures = 0
        else:
            self._failures += 1
            if self._failures % FAILURES == 0:
                self._step /= 2
