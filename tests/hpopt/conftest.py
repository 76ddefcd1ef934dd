"""A scripted study (the events that its pool would journal), and metered pools to search on."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from hpopt.pool.budget import Budget, Limits
from hpopt.pool.local import LocalPool
from hpopt.pool.metered import MeteredPool
from hpopt.record.history import FIRST_TEST, History
from hpopt.record.journal import Journal
from hpopt.searchers.registry import find_agent
from hpopt_envs.messages import Reply, Start, to_json
from hpopt_envs.records import Control, Outcome, RunFacts, Segment
from hpopt_search_spaces import SearchSpace, TrainingFacts, load_space

SPACE = load_space("default").resolve(TrainingFacts(10, 10, 16384, 64, False))
FACTS = RunFacts(
    task="lm",
    model="tiny",
    objective_name="loss",
    maximize=False,
    unit="nats/token",
    objective_scale=1.0,
    forgetting_weight=0.5,
    fixed={},
    max_divergence=None,
    has_reference=True,
    sequence_length=64,
    epoch_tokens=10**6,
    segment_tokens=4096,
    trial_tokens=16384,
    total_parameters=10,
    trainable_parameters=10,
    lora=False,
    base_metrics={"loss": 4.0, "forgetting": 0.0, "divergence": 0.0},
    base_objective=4.0,
    base_objective_subset=4.0,
    base_loss=4.0,
    exploded_loss=16.0,
    penalty_cost=1.0,
    validation_cost=100.0,
    final_validation_cost=500.0,
    setup_cost=1000.0,
    data_hash="data",
    model_hash="model",
)
SECRET = "http://me:password@server"
HEADER = {
    "event": "study",
    "name": "otter",
    "task": "lm",
    "model": "tiny",
    "agent": "tpe",
    "pruner": "none",
    "seed": 0,
    "workers": 1,
    "experiment": "lm",
    "space": SPACE.to_dict(),
    "environment": {"task": "lm", "data": {}, "sequence_length": None},
    "settings": {"trials": 5, "tracking_uri": SECRET, "cost": None},
    "versions": {"torch": "2"},
}


class Script:
    """The events of a study with one worker, as its pool would journal them."""

    def __init__(self, **facts: Any) -> None:
        self.events: list[dict[str, Any]] = [HEADER | {"facts": asdict(FACTS) | facts}]
        self.cost = FACTS.setup_cost

    def start(self, trial: int, **about: Any) -> None:
        request = to_json(Start(trial, **{"seed": trial + 100, **about}))
        self.events.append({"event": "decision", "worker": 0, "trial": trial, "request": request})

    def segment(
        self,
        trial: int,
        index: int,
        objective: float | None,
        divergence: float = 0.0,
        of: Mapping[str, Any] = MappingProxyType({}),
        **end: Any,
    ) -> None:
        self.cost += 5000.25
        measured = {"loss": objective, "forgetting": 0.0, "divergence": divergence}
        values = SPACE.decode([(trial * 0.37 + 0.2) % 1, 0.5, 0.2 * trial % 1])
        segment = Segment(
            id=index,
            parent=index - 1 if index else None,
            hyperparameters=values,
            tokens=4096,
            training_tokens=4096 * (index + 1),
            optimizer_steps=8,
            train_loss=math.inf if objective is None else objective + 0.125,
            penalty=None,
            gradient_norm=math.nan if objective is None else 1.5,
            gradient_norm_std=0.1,
            clip_fraction=0.25,
            noise_scale=None,
            metrics={} if objective is None else measured,
            objective=objective,
            control=Control.CONTINUE,
            cost=5000.25,
            study_cost=self.cost,
            flops=1e9,
            wall_seconds=0.5,
        )
        self.reply(trial, segment=replace(segment, **of), **end)

    def reply(self, trial: int, **parts: Any) -> None:
        reply = to_json(Reply(**parts))
        self.events.append({"event": "reply", "worker": 0, "trial": trial, "reply": reply})

    def trial(self, trial: int, *objectives: float, divergence: float = 0.0) -> None:
        """A completed trial that ends at a divergence."""
        self.start(trial)
        for index, objective in enumerate(objectives[:-1]):
            self.segment(trial, index, objective)
        end, index = objectives[-1], len(objectives) - 1
        self.segment(trial, index, end, divergence, outcome=Outcome.COMPLETED, value=end)

    def final(
        self,
        entrants: Mapping[str, Sequence[float | str]],
        metrics: Callable[[float], Mapping[str, float]] = lambda value: {},
    ) -> None:
        """A final: on validation, the values of each entrant by seed; texts are why it failed.

        On the test split all are higher by 0.25, and so is the loss; `metrics` gives others there.
        """
        tests = FIRST_TEST
        for name, values in entrants.items():
            for seed, value in enumerate(values):
                self.start(tests, seed=seed, test=True, entrant=name)
                if isinstance(value, str):
                    self.reply(tests, outcome=Outcome.FAILED, reason=value)
                else:
                    shown = {"loss": value + 0.25, **metrics(value)}
                    of = {"test_metrics": shown, "test_objective": value + 0.25}
                    self.segment(tests, 0, value, of=of, outcome=Outcome.COMPLETED, value=value)
                tests += 1


def _every_ending() -> Script:
    """Five trials: completed, pruned, exploded, out of memory, and a better one completed."""
    script = Script()
    script.trial(0, 3.5, 3.0)
    script.start(1)
    script.segment(1, 0, 3.75)
    script.events.append({"event": "closed", "worker": 0, "trial": 1, "pruned": True})
    script.start(2)
    script.segment(2, 0, 3.75)
    script.segment(2, 1, None, outcome=Outcome.EXPLODED, reason="the loss became inf")
    script.start(3)
    script.segment(3, 0, 3.75)
    script.reply(3, outcome=Outcome.OUT_OF_MEMORY, reason="no memory left")
    script.trial(4, 3.25, 2.5)
    return script


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    """Of every scripted study."""
    return SPACE


@pytest.fixture(scope="session")
def facts() -> RunFacts:
    """Of every scripted study that minimises."""
    return FACTS


@pytest.fixture(scope="session")
def new_script() -> Callable[..., Script]:
    """Begins a scripted study."""
    return Script


@pytest.fixture(scope="session")
def every_ending() -> list[dict[str, Any]]:
    """Events of a study whose trials end in every way."""
    return _every_ending().events


@pytest.fixture
def make_pool(tmp_path: Path) -> Iterator[Callable[..., MeteredPool]]:
    """Make a metered pool for an agent: slots in this process, a real journal.

    The simulated task's trials have 4 segments, where nothing else is asked for; `folder` names
    the study's folder below `tmp_path`.
    """
    opened: list[Journal] = []

    def make(
        agent: str,
        pruner: str = "none",
        *,
        trials: int,
        seed: int = 0,
        workers: int = 1,
        factory: str = "hpopt_envs.factory:make_env",
        folder: str = "",
        **settings: Any,
    ) -> MeteredPool:
        spec = find_agent(agent, pruner)
        validates = spec.validates or pruner != "none"
        environment = {"view": spec.view, "validate_segments": validates, **settings}
        if factory == "hpopt_envs.factory:make_env":
            environment = {"task": "simulated", "trial_tokens": 4 * 4096} | environment
        pool = LocalPool(factory, environment, workers)
        where = tmp_path / (folder or f"study-{len(opened)}")
        header = {"event": "study", "facts": vars(pool.facts), "settings": {}}
        journal = Journal.create(where / "journal.jsonl", header)
        opened.append(journal)
        history = History()
        history.apply(journal.events[0])
        return MeteredPool(
            pool,
            journal,
            history,
            Budget(Limits(trials=trials), pool.facts, validates),
            seed=seed,
            snapshots=where / "snapshots",
            shape=spec.shape,
        )

    yield make
    for journal in opened:
        journal.close()
