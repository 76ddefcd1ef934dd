"""The fold over a journal: what it knows follows from the events alone."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt.errors import StudyError
from hpopt.record.history import History
from hpopt_envs.messages import Advance, Reply, Start, to_json
from hpopt_envs.records import Control, Outcome, RunFacts, Segment


def segment(index: int, cost: float = 5000.0, objective: float | None = None) -> Segment:
    return Segment(
        id=index,
        parent=index - 1 if index else None,
        hyperparameters={"learning_rate": 1e-3, "optimizer": "adamw", "batch_size": 8},
        tokens=4096,
        training_tokens=4096 * (index + 1),
        optimizer_steps=8,
        train_loss=3.5,
        penalty=None,
        gradient_norm=1.0,
        gradient_norm_std=0.1,
        clip_fraction=0.0,
        noise_scale=None,
        metrics={"loss": 3.4},
        objective=objective,
        control=Control.CONTINUE,
        cost=cost,
        study_cost=0.0,
        flops=1e9,
        wall_seconds=0.1,
    )


def start(trial: int, worker: int = 0, test: bool = False) -> dict[str, Any]:
    request = to_json(Start(trial, seed=trial + 100, test=test))
    return {"event": "decision", "worker": worker, "trial": trial, "request": request}


def reply(trial: int, worker: int = 0, **parts: Any) -> dict[str, Any]:
    return {"event": "reply", "worker": worker, "trial": trial, "reply": to_json(Reply(**parts))}


def ended(trial: int, value: float | None, outcome: Outcome, test: bool = False) -> list[Any]:
    end = reply(trial, segment=segment(0), outcome=outcome, value=value, reason="because")
    return [start(trial, test=test), end]


Fold = Callable[..., History]


@pytest.fixture(scope="session")
def folded(facts: RunFacts) -> Fold:
    """Makes the history of a study, its events having been through JSON."""

    def fold(*events: dict[str, Any]) -> History:
        header = {"event": "study", "facts": asdict(facts), "settings": {"trials": 3}}
        history = History()
        for event in (header, *events):
            history.apply(json.loads(json.dumps(event)))
        return history

    return fold


def test_a_trial_is_built_from_its_replies(folded: Fold, facts: RunFacts) -> None:
    advance = to_json(Advance((0.5, 0.5, 0.0)))
    history = folded(
        start(0, worker=1),
        reply(0, 1, observation=(0.0,)),
        {"event": "decision", "worker": 1, "trial": 0, "request": advance},
        reply(0, 1, segment=segment(0)),
        reply(0, 1, segment=segment(1, 6000.0, 3.2), outcome=Outcome.COMPLETED, value=3.2),
    )
    trial = history.trials[0]
    assert trial.segments == (segment(0), segment(1, 6000.0, 3.2))
    assert (trial.seed, trial.outcome, trial.value) == (100, Outcome.COMPLETED, 3.2)
    assert history.best == trial
    assert history.running == {}
    assert history.training_tokens == 8192
    assert history.facts == facts


def test_everything_is_charged(folded: Fold, facts: RunFacts) -> None:
    history = folded(
        start(0),
        reply(0, segment=segment(0, 5000.0)),
        {"event": "lost", "worker": 0, "trial": 0, "cost": 700.0, "tokens": 600},
        reply(0, segment=segment(1, 5500.0)),
        {"event": "closed", "worker": 0, "trial": 0, "pruned": True},
        *ended(1, None, Outcome.EXPLODED),
    )
    assert history.cost == history.search_cost == facts.setup_cost + 5000 + 700 + 5500 + 5000
    assert history.training_tokens == 3 * 4096 + 600


def test_running_trials_are_known_by_worker(folded: Fold) -> None:
    history = folded(start(0, 0), start(1, 1), reply(0, 0, segment=segment(0)))
    assert history.running == {0: 0, 1: 1}
    assert history.trials[0].outcome is None
    history.apply({"event": "closed", "worker": 0, "trial": 0, "pruned": False})
    assert history.running == {1: 1}
    assert history.trials[0].outcome is Outcome.STOPPED


def test_a_pruned_trial_never_wins(folded: Fold) -> None:
    history = folded(
        start(0),
        reply(0, segment=segment(0, objective=0.1)),
        {"event": "closed", "worker": 0, "trial": 0, "pruned": True},
    )
    assert history.trials[0].pruned
    assert history.best is None


@pytest.mark.parametrize("outcome", [Outcome.EXPLODED, Outcome.OUT_OF_MEMORY, Outcome.FAILED])
def test_a_broken_trial_never_wins(folded: Fold, outcome: Outcome) -> None:
    history = folded(*ended(0, 0.1, outcome))
    assert history.best is None
    assert history.trials[0].reason == "because"


def test_a_trial_judged_on_test_never_wins_but_costs(folded: Fold, facts: RunFacts) -> None:
    history = folded(*ended(0, 3.0, Outcome.COMPLETED), *ended(1, 1.0, Outcome.COMPLETED, True))
    assert history.best is not None
    assert history.best.id == 0
    assert history.tests == {1}
    assert history.cost == facts.setup_cost + 10_000
    assert history.search_cost == facts.setup_cost + 5000
    assert history.training_tokens == 4096


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, math.inf, math.nan, None]), max_size=12))
def test_the_best_is_the_first_of_the_lowest(
    folded: Fold, facts: RunFacts, values: list[float | None]
) -> None:
    events = [e for i, v in enumerate(values) for e in ended(i, v, Outcome.COMPLETED)]
    history = folded(*events)
    finite = [v for v in values if v is not None and math.isfinite(v)]
    best = history.best
    assert (best and best.id) == (values.index(min(finite)) if finite else None)
    kept = [better.value for better in history.improvements]
    assert kept == sorted(set(kept), reverse=True)
    for better in history.improvements:
        assert values.index(better.value) == better.trial
        assert better.cost == facts.setup_cost + 5000 * (better.trial + 1)
        assert better.training_tokens == 4096 * (better.trial + 1)


@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, 3.0, None]), min_size=1, max_size=3)))
def test_a_trial_s_rank_is_the_share_of_ended_ones_that_were_better(
    folded: Fold, trials: list[list[float | None]]
) -> None:
    """The first trial still runs; those judged on the test split don't count."""
    history, others = folded(), trials[1:]
    for index, objectives in enumerate(trials):
        history.apply(start(index, worker=index))
        for number, objective in enumerate(objectives):
            history.apply(reply(index, index, segment=segment(number, objective=objective)))
        if index:
            history.apply({"event": "closed", "worker": index, "trial": index, "pruned": True})
    for event in ended(99, 0.0, Outcome.COMPLETED, test=True):
        history.apply(event)
    if not trials:
        return
    at, mine = len(trials[0]) - 1, trials[0][-1]
    measured = [other[at] for other in others if len(other) > at]
    there = [objective for objective in measured if objective is not None]
    better = [objective for objective in there if mine is not None and objective < mine]
    assert history.rank(history.trials[0]) == (len(better) / len(there) if better else 0.0)


def test_an_extension_gives_up_the_confirmation_that_ran(folded: Fold) -> None:
    extended = {"event": "extended", "settings": {"trials": 9}}
    history = folded(start(0, 0), start(1_000_000, 1, test=True), extended)
    assert history.running == {0: 0}


def test_an_extension_changes_settings_but_not_the_header(folded: Fold) -> None:
    history = folded({"event": "extended", "settings": {"trials": 9}})
    assert history.settings == {"trials": 9}
    assert history.header["settings"] == {"trials": 3}


def test_an_event_of_a_later_version_is_refused(folded: Fold) -> None:
    with pytest.raises(StudyError, match="'forked'"):
        folded({"event": "forked"})


def test_facts_before_the_study_are_refused() -> None:
    with pytest.raises(StudyError, match="begin with its study"):
        _ = History().facts
