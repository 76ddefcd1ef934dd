"""Successive halving that resumes: who is promoted, at what cost; a pause changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.pool.budget import Budget, Limits
from hpopt.record.history import History
from hpopt.record.lines import Event
from hpopt.searchers.promotion import KEPT, rung_lengths
from hpopt.searchers.registry import AGENTS, find_agent
from hpopt.tracking.projection import Projection
from hpopt_envs.factory import make_env
from hpopt_envs.records import Outcome, RunFacts
from tests.hpopt.searchers.promoted import RUNGS, SEGMENTS, TRIAL, Watch, events_of, study, told


@pytest.mark.parametrize(
    ("segments", "lengths"),
    [(1, []), (2, [1]), (3, [1]), (4, [1]), (8, [1, 3]), (9, [1, 3]), (16, [2, 5]), (27, [3, 9])],
)
def test_rungs_lie_at_a_ninth_and_a_third_of_a_trial(segments: int, lengths: list[int]) -> None:
    assert rung_lengths(segments) == lengths


@pytest.mark.parametrize(("agent", "slots"), [("random", 1), ("random", 3), ("tpe", 1)])
def test_who_is_promoted_is_what_the_objectives_say(agent: str, slots: int, tmp_path: Path) -> None:
    """Each decision against the definition, from the journal's objectives alone."""
    result = study(tmp_path, slots=slots, agent=agent, trials=12)
    reached: dict[int, dict[int, float]] = {length: {} for length in RUNGS}
    paused: dict[int, set[int]] = {length: set() for length in RUNGS}
    segments: dict[int, list[Any]] = {}
    running: set[int] = set()
    refused, ending, promoted = False, False, 0
    for event in events_of(tmp_path)[1:]:
        trial: Any = event.get("trial")
        kind = event["event"]
        started = kind == "decision" and event["request"]["kind"] == "start"
        if started or kind == "unpaused":
            by_value = {
                length: sorted(reached[length], key=reached[length].__getitem__) for length in RUNGS
            }
            top = {length: by_value[length][: len(by_value[length]) // 3] for length in RUNGS}
            may = [t for length in (5, 2) for t in top[length] if t in paused[length]]
            if kind == "unpaused" and refused and trial not in may[:1]:
                assert not running  # the rest of the budget: the best one of the highest rung
                may = [t for length in (5, 2) for t in by_value[length] if t in paused[length]]
            assert may[:1] == ([trial] if kind == "unpaused" else [])
            promoted += kind == "unpaused"
            for trials in paused.values():
                trials.discard(trial)
            running.add(trial)
        elif kind == "reply":
            if event["reply"]["segment"] is not None:
                segments.setdefault(trial, []).append(event["reply"]["segment"])
            if event["reply"]["outcome"] is not None:
                running.remove(trial)
        elif kind == "paused":
            length = len(segments[trial])
            assert length in RUNGS
            running.remove(trial)
            reached[length][trial] = segments[trial][-1]["objective"]
            paused[length].add(trial)
        elif kind == "closed":
            length = len(segments[trial])
            ending |= len(paused[length]) <= KEPT
            if ending:  # the end of the study
                assert refused
                assert not running
            else:
                assert trial == max(paused[length], key=reached[length].__getitem__)
            paused[length].remove(trial)
        refused = kind == "refused" or (refused and kind not in ("reply", "paused"))
    assert promoted > 10
    assert sum(t.outcome is Outcome.COMPLETED for t in result.trials) >= 3
    assert not any(paused.values())


def test_a_trial_that_was_paused_is_the_trial_run_through(tmp_path: Path) -> None:
    """Against an environment that is driven by hand, and against a plain study's values."""
    result = study(tmp_path / "promoted", trials=8)
    last: dict[int, int] = {}  # by worker, the trial that it advanced last
    moved = 0
    for event in events_of(tmp_path / "promoted"):
        if event["event"] == "unpaused":
            moved += last[event["worker"]] != event["trial"]
        elif event["event"] == "decision":
            last[event["worker"]] = event["trial"]
    assert moved > 3
    env = make_env("simulated", trial_tokens=TRIAL)
    for trial in result.trials:
        env.reset(seed=trial.seed, options={"trial": trial.id})
        for segment in trial.segments:
            env.train(segment.hyperparameters)
        through = replace(env.trial, outcome=trial.outcome, pruned=trial.pruned)
        assert told(through) == told(trial)
    plain = study(tmp_path / "plain", trials=12, pruner="none").history.trials
    completed = [t.id for t in result.trials if t.outcome is Outcome.COMPLETED and t.id in plain]
    assert len(completed) > 1
    assert all(result.history.trials[i].value == plain[i].value for i in completed)


@pytest.mark.parametrize("slots", [1, 3])
def test_the_budget_is_kept_and_many_more_trials_are_seen(slots: int, tmp_path: Path) -> None:
    def check(event: Event, history: History) -> None:
        assert history.training_tokens <= 8 * TRIAL

    result = study(tmp_path / "promoted", Watch(check), slots, trials=8, prior="none")
    plain = study(tmp_path / "plain", slots=slots, trials=8, prior="none", pruner="none")
    assert result.history.training_tokens > 7 * TRIAL
    assert len(result.trials) >= 2.5 * len(plain.trials)
    assert all(trial.outcome is not None for trial in result.trials)
    assert not result.history.paused


@pytest.mark.parametrize("budget", [{"trials": 1}, {"trials": 2}, {"cost": 250_000.0}])
def test_the_smallest_budgets_complete_a_trial(budget: dict[str, Any], tmp_path: Path) -> None:
    for slots in (1, 2):
        result = study(tmp_path / str(slots), slots=slots, **budget)
        assert result.best is not None
        assert len(result.best.segments) == SEGMENTS
        assert result.cost <= budget.get("cost", result.cost)
        assert result.history.training_tokens <= budget.get("trials", 99) * TRIAL


def test_a_paused_trial_needs_what_is_left_of_it(
    facts: RunFacts, new_script: Callable[..., Any]
) -> None:
    """Of four segments it has one; the script's take half a second and 5,000.25 each."""
    script = new_script()
    script.trial(0, 3.5, 3.25, 3.0, 2.75)
    script.start(1)
    script.segment(1, 0, 3.5)
    script.events.append({"event": "paused", "worker": 0, "trial": 1})
    history = History()
    for event in ({**script.events[0], "facts": vars(facts)}, *script.events[1:]):
        history.apply(event)
    dearest = Budget(Limits(), facts, True).trial_cost
    limits = (
        (Limits(trials=2), 0.0),
        (Limits(cost=history.search_cost + dearest - 1.0), 0.0),
        (Limits(seconds=10.0), 8.25),
    )
    for limit, before in limits:
        budget = Budget(limit, facts, True, seconds_before=before)
        assert budget.allows(history, paused=1)
        assert not budget.allows(history)


def test_only_samplers_take_it() -> None:
    for agent, spec in AGENTS.items():
        if spec.prunable:
            assert find_agent(agent, "promotion") == replace(spec, validates=True)
        else:
            with pytest.raises(StudyError, match=r"^pruner: must go with one of "):
                find_agent(agent, "promotion")


@pytest.mark.slow
def test_a_trial_that_was_paused_is_one_run_in_mlflow_and_closed(
    tmp_path: Path, new_script: Callable[..., Any]
) -> None:
    from mlflow import MlflowClient

    script = new_script()
    for trial in (0, 1):
        script.start(trial)
        script.segment(trial, 0, 3.5 + trial)
        script.events.append({"event": "paused", "worker": 0, "trial": trial})
    script.events.append({"event": "unpaused", "worker": 0, "trial": 0})
    script.segment(0, 1, 3.0, outcome=Outcome.COMPLETED, value=3.0)
    script.events.append({"event": "closed", "worker": None, "trial": 1, "pruned": True})
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first, *rest = [event | {"time": 1000.0} for event in script.events]
    projection = Projection(uri, "lm", "trials", first | {"name": "otter"})
    for event in rest:
        projection.apply(event)
    projection.finish("finished", tmp_path)
    client = MlflowClient(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`hpopt.trial` != ''")
    found = {run.data.tags["hpopt.trial"]: run for run in runs}
    assert sorted(found) == ["0", "1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert found["0"].data.metrics["value"] == 3.0
    assert "value" not in found["1"].data.metrics
    assert len(client.get_metric_history(found["0"].info.run_id, "objective")) == 2
