"""What a searcher is: the extension point, and the two forms that it can take.

Something that answers "what next?" and "this came of it" is a `Proposer`; `drive` runs it over all
workers. Something that owns its loop, as the agents of Stable-Baselines3 do, is a `Searcher`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hpopt_search_spaces import Value

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial

    from ..pool.metered import MeteredPool


@dataclass(frozen=True)
class SearchPlan:
    """What a searcher is built from.

    Attributes:
        agent: its name in `AGENTS`.
        pruner: a name in `PRUNERS`; "none" for none.
        trials: the study's first budget in full trials. What a searcher does at a share of its
            budget follows from this, and stays when the study is extended.
        seed: of the study; every draw of the searcher is keyed by it.
        prior: "default": the space's default configuration is tried first; "none": it isn't.
        portfolio: configurations that the portfolio agent tries, in order, the prior included.
    """

    agent: str
    pruner: str
    trials: int
    seed: int
    prior: str
    portfolio: tuple[Mapping[str, Value], ...] = ()


class Searcher(Protocol):
    """Decides what trials are run with.

    Resume is replay: the same plan and the same replies must lead to the same decisions in another
    process. So draws are keyed by the plan's seed, and neither time nor place may matter.
    """

    def search(self, pool: "MeteredPool") -> None:
        """Run trials until the pool refuses another, or until there is nothing left to try.

        Called once. Every trial that it starts must have ended when it returns. It asks
        `pool.can_start()` before each `pool.start`, and must not change the pool's history.
        """


@dataclass(frozen=True)
class Proposal:
    """A configuration to hold for a whole trial.

    Attributes:
        number: which of its proposer's proposals this is, from 0.
        values: of the active hyperparameters, native and legal.
    """

    number: int
    values: Mapping[str, Value]


class Proposer(Protocol):
    """Proposes configurations one at a time; several may be under way at once."""

    def ask(self) -> Proposal | None:
        """Return what to try next, or None where there is nothing left to try.

        Called when a worker is idle and the budget allows a trial; what it returns is run.
        """

    def report(self, proposal: Proposal, segment: "Segment") -> bool:
        """Take in a finished segment of a trial that goes on; return True to end it there.

        Called in the order of the trial's segments. `segment.objective` is None where nothing
        was measured between segments.
        """

    def tell(self, proposal: Proposal, trial: "Trial") -> None:
        """Take in how a proposal's trial ended.

        Called once for each proposal, also where the trial failed; `trial.value` is None where it
        has none. Trials needn't end in the order in which they were proposed.
        """


@dataclass(frozen=True)
class AgentSpec:
    """An entry of the registry.

    Attributes:
        description: one line.
        build: "module:function" that makes a `Searcher` of a `SearchPlan`; the module, relative to
            this package, is imported only when it is needed.
        view: how the environment reads its actions, see `hpopt_envs.episode.actions`.
        validates: whether it needs the objective between segments, with or without a pruner.
        holds: whether it holds a configuration for a whole trial; otherwise it acts inside it.
        prunable: whether it takes a pruner.
        needs_dynamic_rate: whether it moves the learning rate, which the space must allow.
    """

    description: str
    build: str
    view: str = "absolute"
    validates: bool = False
    holds: bool = True
    prunable: bool = True
    needs_dynamic_rate: bool = False
