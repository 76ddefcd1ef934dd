"""A searcher without learning: it finds the learning rate inside its first trial.

That trial is `hpopt.controllers.range_test`'s. The second trial holds the rate found, the third a
third of it, unless the range ends at the rate found; later ones are TPE's on the whole space with
the rate narrowed. `docs/results.md` has what it is worth.
"""

from dataclasses import dataclass, replace

from hpopt_search_spaces import FloatParameter, SearchSpace

from ..controllers.range_test import FALL
from ..pool.metered import MeteredPool
from .base import SearchPlan
from .driver import drive
from .optuna_proposer import OptunaProposer
from .steered import SteeredTrial

NARROWED = (1 / 8, 4.0)  # range of later trials' learning rates around the one found


def build(plan: SearchPlan) -> "RangeTestSearcher":
    """See `AgentSpec.build`."""
    return RangeTestSearcher(plan)


@dataclass(frozen=True)
class RangeTestSearcher:
    """See the module. Workers but the first have nothing to do during the first trial."""

    plan: SearchPlan

    def search(self, pool: MeteredPool) -> None:
        rate = pool.space["learning_rate"]
        assert isinstance(rate, FloatParameter)  # see `check_space`
        if not pool.can_start():
            return
        found = SteeredTrial(pool, rate, self.plan.observation).find()
        narrowed = _narrowed(pool.space, rate, found)
        held = narrowed.defaults()
        third = held | {"learning_rate": rate.snap(found / FALL)}
        first = [held] if third == held else [held, third]  # never one configuration twice
        plan = replace(self.plan, agent="tpe", trials=max(1, self.plan.trials - 1))
        drive(OptunaProposer(narrowed, plan, pool.facts, first=first), pool)


def _narrowed(space: SearchSpace, rate: FloatParameter, found: float) -> SearchSpace:
    """Return the space around the rate found, which becomes the default."""
    low, high = max(rate.low, found * NARROWED[0]), min(rate.high, found * NARROWED[1])
    around = replace(rate, low=low, high=high, default=found)
    others = (around if p.name == rate.name else p for p in space.parameters)
    return SearchSpace(space.name, tuple(others))
