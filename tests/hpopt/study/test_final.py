"""The final: who is in it, what it costs, and that all that is kept means what it recommends."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hpopt.record.final import finalists_of
from hpopt.record.history import FIRST_TEST, History
from hpopt.record.recommended import Recommended
from hpopt.record.schedule import Schedule
from hpopt_envs.stand_ins.simulated import SimulatedRun
from tests.hpopt.searching import Interrupt, events_of, outcome, resume, search


@pytest.mark.parametrize("trials", [6, 8, 16, 30])
def test_it_costs_at_most_half_of_the_search(trials: int, tmp_path: Path) -> None:
    result = search(tmp_path, trials=trials, agent="random")
    assert result.final is not None
    assert 0 < result.cost - result.history.search_cost <= result.history.search_cost / 2


def test_all_are_run_on_the_same_seeds_and_the_first_seed_by_all(tmp_path: Path) -> None:
    result = search(tmp_path, trials=30, agent="random", finalists=4)
    assert result.final is not None
    assert set(result.final.runs) >= {"default"}
    seeds = {name: [trial.seed for trial in of] for name, of in result.final.runs.items()}
    most = max(seeds.values(), key=len)
    assert len(most) > 1
    assert all(of == most[: len(of)] for of in seeds.values())
    assert len(set(most)) == len(most)
    assert not set(most) & {trial.seed for trial in result.trials}


def test_finalists_are_the_best_different_trials(tmp_path: Path) -> None:
    result = search(tmp_path, trials=30, agent="random", finalists=4)
    ended = sorted((t for t in result.trials if t.can_win), key=lambda t: t.value or 0.0)
    default = Schedule.of(result.trials[0], result.facts).hyperparameters
    best = [t for t in ended if Schedule.of(t, result.facts).hyperparameters != default][:4]
    names = [one.name for one in finalists_of(result.history, 4)]
    assert names == [f"trial {trial.id}" for trial in best]


def test_a_short_search_has_the_least_that_can_be_compared(tmp_path: Path) -> None:
    result = search(tmp_path, trials=2, agent="random", seed=1)
    assert result.final is not None
    assert [len(of) for of in result.final.runs.values()] == [1, 1]


def test_seeds_that_are_asked_for_are_run_whatever_they_cost(tmp_path: Path) -> None:
    """They end where there is nothing left to decide: here the default is better at once."""
    result = search(tmp_path / "a", trials=2, agent="random", seed=2, confirm_seeds=4, finalists=1)
    decided = search(tmp_path, trials=2, agent="random", seed=1, confirm_seeds=4, finalists=1)
    for found, seeds in ((result, 4), (decided, 1)):
        assert found.final is not None
        assert [len(of) for of in found.final.runs.values()] == [seeds, seeds]
    assert result.cost - result.history.search_cost > result.history.search_cost / 2


def test_none_are_run_where_none_are_asked_for(tmp_path: Path) -> None:
    result = search(tmp_path, trials=4, agent="random", confirm_seeds=0)
    assert result.final is None
    assert result.best is not None
    assert result.recommended == Schedule.of(result.best, result.facts)


def test_killed_anywhere_in_it_the_final_goes_on(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"trials": 8, "agent": "random", "trial_tokens": 4 * 4096}
    whole = search(tmp_path / "whole", **asked)
    events = events_of(whole)
    begin = next(k for k, event in enumerate(events) if event.get("trial", 0) >= FIRST_TEST)
    for count in range(begin, len(events), 3):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / str(count), Interrupt(count), **asked)
        assert outcome(resume(tmp_path / str(count))) == outcome(whole)


def test_an_extension_holds_it_again(tmp_path: Path) -> None:
    first = search(tmp_path, trials=4, agent="random")
    longer = resume(tmp_path, trials=16)
    assert first.final is not None
    assert longer.final is not None
    held = {trial.id for of in longer.final.runs.values() for trial in of}
    assert min(held) > max(trial.id for of in first.final.runs.values() for trial in of)
    assert longer.why != first.why


def test_an_extension_pays_for_every_final(tmp_path: Path) -> None:
    first = search(tmp_path, trials=2)
    limit = 2.5 * first.cost
    second = resume(tmp_path, trials=100, cost=limit)
    folded = History()
    for event in events_of(second):
        folded.apply(event)
    assert len(second.history.tests) > len(first.history.tests) > 0
    assert math.isclose(second.cost, folded.cost)
    assert len(second.trials) > len(first.trials)
    assert second.cost <= limit


def test_the_weights_are_those_of_what_is_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulation's weights are the means of its run, which its hyperparameters decide."""
    result = search(tmp_path, trials=8, agent="random")
    assert result.recommendation is not None
    example = result.recommendation.example
    assert example is not None
    written = json.loads((result.folder / "best" / "weights.json").read_text())["mean"]
    run = SimulatedRun(result.facts)
    state = run.start(example.seed)
    for segment in example.path:
        run.advance(state, segment.hyperparameters, segment.id, segment.tokens)
    assert written == state.mean.tolist()
    assert not (result.folder / "snapshots").exists()


def told(script: Any, **final: Any) -> Recommended:
    script.final({name.replace("_", " "): values for name, values in final.items()})
    history = History()
    for event in script.events:
        history.apply(event)
    return Recommended.of(history, "test")


def test_in_a_tie_constant_configurations_come_before_ramps(new_script: Any) -> None:
    script = new_script()
    script.trial(0, 3.5, 3.0)
    script.trial(1, 3.5, 3.0)
    history = History()
    for event in script.events:
        if event["event"] == "reply" and event["trial"] == 0 and event["reply"]["segment"]["id"]:
            event["reply"]["segment"]["hyperparameters"] |= {"learning_rate": 1e-4}
        history.apply(event)
    assert [one.name for one in finalists_of(history, 2)] == ["trial 1", "trial 0"]


def test_in_a_tie_the_lower_loss_comes_first(new_script: Any) -> None:
    script = new_script()
    for trial, loss in ((0, 0.5), (1, 0.25)):
        script.start(trial)
        ends = {"outcome": "completed", "value": -1.0}
        script.segment(trial, 0, -1.0, of={"metrics": {"loss": loss, "accuracy": 1.0}}, **ends)
    history = History()
    for event in script.events:
        history.apply(event)
    assert [one.name for one in finalists_of(history, 2)] == ["trial 1", "trial 0"]


def test_who_is_over_the_limit_on_fresh_seeds_pays_for_it(new_script: Any) -> None:
    """Objective and divergence are in the final what they are under the limit in the search."""
    script = new_script(max_divergence=0.5)
    script.trial(0, 3.5, 2.0, divergence=0.4)
    final = {"default": (3.0, 3.0), "trial 0": (2.0, 2.0)}
    script.final(final)
    for event in script.events:
        if event["event"] == "reply" and event["trial"] >= FIRST_TEST + 2:
            event["reply"]["segment"]["metrics"]["divergence"] = 1.5  # three times the limit: + 2
    history = History()
    for event in script.events:
        history.apply(event)
    found = Recommended.of(history, "test")
    assert found.name == "default"
    assert found.value == 3.0


def test_where_all_fail_the_default_is_kept(new_script: Any) -> None:
    script = new_script()
    script.trial(0, 3.5, 2.0)
    found = told(script, default=("exploded",), trial_0=("exploded",))
    assert (found.name, found.value, found.example) == ("default", None, None)
    assert found.why == "The default is kept, since every run on a fresh seed failed."
