"""What a searcher is: the extension point, and the two forms that it can take.

Something that answers "what next?" and "this came of it" is a `Proposer`; `drive` runs it over all
workers. Something that owns its loop, as the agents of Stable-Baselines3 do, is a `Searcher`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hpopt_envs.episode.features import OBSERVATION_VERSION
from hpopt_envs.records import RunFacts
from hpopt_envs.schedules import AGENT_SHAPE, HELD_SHAPE
from hpopt_search_spaces import SearchSpace, Value

if TYPE_CHECKING:
    from hpopt_envs.records import Segment, Trial

    from ..pool.metered import MeteredPool

NO_PRUNER = "none"  # in place of a pruner
STARTUP_LIMIT = 10  # random trials before a model is fitted: as many as Optuna has by default


@dataclass(frozen=True)
class SearchPlan:
    """What a searcher is built from.

    Attributes:
        agent: its name, of ours or installed, or "module:Class".
        pruner: likewise, or "module:function"; "none" for none.
        trials: the study's first budget in full trials. What a searcher does at a share of its
            budget follows from this, and stays when the study is extended.
        seed: of the study; every draw of the searcher is keyed by it.
        prior: "default": what is known before is tried first, see `known_before`; "none": not.
        portfolio: configurations that the portfolio agent tries, in order, the prior included.
        observation: version of observations, rewards and controls that the study began with.
        policy: folder of the policy that a learned searcher goes by; "" for the one of ours.
        startup_limit: most random trials before a model is fitted.
    """

    agent: str
    pruner: str
    trials: int
    seed: int
    prior: str
    portfolio: tuple[Mapping[str, Value], ...] = ()
    observation: int = OBSERVATION_VERSION
    policy: str = ""
    startup_limit: int = STARTUP_LIMIT


def known_before(space: SearchSpace, facts: RunFacts) -> list[dict[str, Value]]:
    """Return the configurations to begin with: the default, and the baseline where there is one.

    The baseline is as near as the space has it.
    """
    default = space.defaults()
    baseline = space.snap(default | space.nearest(facts.baseline))
    return [default] if baseline == default else [default, baseline]


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
        why: where it is to be told why, see `MeteredPool.explain`.
    """

    number: int
    values: Mapping[str, Value]
    why: Mapping[str, Any] | None = None


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
    """What is known of a searcher beside what it decides; a searcher of one's own may have one.

    Attributes:
        description: one line.
        build: makes the searcher: a class, or the text "module:function" of this package, whose
            module is imported only when it is needed. A class with `search` is called with the
            `SearchPlan`, one that proposes with (plan, space, facts).
        view: how the environment reads its actions, see `hpopt_envs.episode.actions`.
        validates: whether it needs the objective between segments, with or without a pruner.
        holds: whether it holds a configuration for a whole trial; otherwise it acts inside it.
        decays: whether what it holds decays, where neither space nor user say how.
        prunable: whether it takes a pruner.
        needs_dynamic_rate: whether it moves the learning rate, which the space must allow.
        has_policy: whether it goes by a policy that learned before, which knows learning rates on
            a logarithmic scale.
        needs_studies: whether it is made from earlier studies of other tasks.
        takes_prior: whether it can do without the default to begin with.
        teaches: whether a portfolio may learn from its trials; not where they say little of the
            space.
    """

    description: str = ""
    build: "str | Callable[..., Any]" = ""
    view: str = "absolute"
    validates: bool = False
    holds: bool = True
    decays: bool = True
    prunable: bool = False
    needs_dynamic_rate: bool = False
    has_policy: bool = False
    needs_studies: bool = False
    takes_prior: bool = True
    teaches: bool = True

    @property
    def shape(self) -> Mapping[str, Value]:
        """What its trials are trained with beside the space, where nothing else is said."""
        return HELD_SHAPE if self.holds and self.decays else AGENT_SHAPE


@dataclass(frozen=True)
class PrunerSpec:
    """What is known of a pruner.

    Attributes:
        description: one line.
        build: makes Optuna's pruner of (plan, segments of a trial): a function or class, or the
            text "module:function" of this package.
        pauses: whether trials are paused and promoted instead of stopped, see `promotion`.
    """

    description: str
    build: "str | Callable[..., Any]"
    pauses: bool = False
