"""Configurations that go from tasks to another one, on scripted and on simulated studies."""

import itertools
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpopt.errors import StudyError
from hpopt.pool.metered import MeteredPool
from hpopt.record.history import History
from hpopt.record.journal import Event, Journal
from hpopt.searchers.portfolio import greedy_order, make_portfolio, transfer
from hpopt.searchers.registry import make_searcher
from hpopt.settings.study import Settings
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.opening import begin, take_up
from hpopt.study.result import StudyResult
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.records import Outcome
from hpopt_search_spaces import SearchSpace, TrainingFacts, Value, load_space

Tried = Sequence[tuple[Mapping[str, Value], float]]
NewStudy = Callable[..., History]


@pytest.fixture
def new_study(new_script: Callable[..., Any]) -> NewStudy:
    """Scripts an ended study: its task, its space, and the values of its configurations."""

    def study(
        task: str, space: SearchSpace, tried: Tried, divergences: Sequence[float] = (), **facts: Any
    ) -> History:
        history = History()
        for event in scripted(new_script(task=task, **facts), task, space, tried, divergences):
            history.apply(event)
        return history

    return study


def scripted(
    script: Any, task: str, space: SearchSpace, tried: Tried, divergences: Sequence[float] = ()
) -> list[Event]:
    """The events of a study, two segments a trial."""
    script.events[0] |= {"name": f"of-{task}", "task": task, "space": space.to_dict()}
    for trial, (values, value) in enumerate(tried):
        divergence = divergences[trial] if divergences else 0.0
        script.trial(trial, value + 0.5, value, divergence=divergence)
        for event in script.events[-2:]:
            event["reply"]["segment"]["hyperparameters"] = dict(values)
    events: list[Event] = script.events
    return events


def resolved(name: str = "default", parameters: int = 10**6) -> SearchSpace:
    """A space for a model of so many parameters, which decide its default learning rate."""
    return load_space(name).resolve(TrainingFacts(parameters, parameters, 32768, 64, False))


def test_the_order_is_the_best_of_all_orders() -> None:
    """Greedy is the first of all permutations by (reached, mean, index) of one after the other."""
    draw = random.Random(0)
    for _ in range(20):
        # Sixteenths, so that there are ties, and sums are exact.
        regrets = [[draw.randint(0, 16) / 16 for _ in range(5)] for _ in range(3)]

        def ranks(order: tuple[int, ...], table: list[list[float]] = regrets) -> list[Any]:
            keys: list[Any] = []
            for length, index in enumerate(order, start=1):
                reached = sum(min(task[i] for i in order[:length]) for task in table)
                keys.append((reached, sum(task[index] for task in table), index))
            return keys

        expected = min(itertools.permutations(range(5)), key=ranks)
        assert greedy_order(np.array(regrets), 5) == list(expected)
        assert greedy_order(np.array(regrets), 3) == list(expected[:3])
        led = min((o for o in itertools.permutations(range(5)) if o[0] == 4), key=ranks)
        assert greedy_order(np.array(regrets), 9, first=[4]) == list(led)


def test_the_first_few_cover_tasks_that_want_different_things(new_study: NewStudy) -> None:
    """On one grid: two tasks whose bests lie apart, and a compromise that's good on neither."""
    space = resolved()
    grid = [space.decode([place / 10, 0.5, 0.5]) for place in range(11)]

    def study(task: str, best: int) -> History:
        return new_study(
            task, space, [(v, 2.0 + min(2, abs(i - best))) for i, v in enumerate(grid)]
        )

    order = make_portfolio([study("a", 2), study("b", 8)], "c", space, 99, prior="none")
    assert sorted(map(str, order[:2])) == sorted(map(str, (grid[2], grid[8])))
    assert sorted(map(str, order)) == sorted(map(str, [*grid, space.defaults()]))


def test_a_learning_rate_goes_over_relative_to_the_default(new_study: NewStudy) -> None:
    small, large = resolved(parameters=10**6), resolved(parameters=10**9)
    default = small.defaults()
    rates = {factor: float(default["learning_rate"]) * factor for factor in (0.25, 1.0, 4.0, 16.0)}
    value = {0.25: 3.5, 1.0: 3.0, 4.0: 2.0, 16.0: 4.0}
    tried = [(default | {"learning_rate": rates[f]}, value[f]) for f in rates]
    first = make_portfolio([new_study("a", small, tried)], "b", large, 1, prior="none")[0]
    assert first["learning_rate"] == pytest.approx(4 * float(large.defaults()["learning_rate"]))
    assert first == large.defaults() | {"learning_rate": first["learning_rate"]}


def test_the_default_comes_first_with_the_prior_alone(new_study: NewStudy) -> None:
    space = resolved()
    good, bad = space.decode([0.2, 0.5, 0.5]), space.decode([0.9, 0.5, 0.5])
    study = new_study("a", space, [(bad, 3.9), (good, 2.0), (space.defaults(), 3.8)])
    with_prior = make_portfolio([study], "b", space, 3)
    assert with_prior == [space.defaults(), good, bad]
    assert make_portfolio([study], "b", space, 2, prior="none")[0] == good


def space_of(*parameters: dict[str, Any]) -> SearchSpace:
    return SearchSpace.from_dict({"name": "small", "parameters": list(parameters)})


def test_choices_keep_their_value_and_conditions_hold() -> None:
    rate = {"name": "rate", "type": "float", "log": True, "low": 1e-4, "high": 1e-2}
    momentum = {"name": "momentum", "type": "float", "low": 0.0, "high": 1.0, "default": 0.5}
    momentum["active_when"] = {"optimizer": ["sgd"]}
    optimizer = {"name": "optimizer", "type": "choice", "default": "adamw"}
    decay = {"name": "decay", "type": "float", "low": 0.0, "high": 1.0, "default": 0.5}
    source = space_of(
        rate | {"default": 1e-3},
        optimizer | {"choices": ["adamw", "lion", "sgd"]},
        momentum,
    )
    target = space_of(
        decay,  # that the source lacks
        optimizer | {"choices": ["sgd", "adamw"]},
        momentum,
    )

    def moved(**values: Value) -> dict[str, Value]:
        return transfer(source.snap(values), source, target)

    sgd = moved(rate=5e-3, optimizer="sgd", momentum=0.9)
    assert sgd == {"decay": 0.5, "optimizer": "sgd", "momentum": 0.9}
    assert moved(optimizer="adamw") == {"decay": 0.5, "optimizer": "adamw"}
    assert moved(optimizer="lion") == target.defaults()  # that the target lacks
    back = transfer({"optimizer": "sgd", "momentum": 0.25, "decay": 0.1}, target, source)
    assert back == {"rate": 1e-3, "optimizer": "sgd", "momentum": 0.25}


def test_what_differs_by_rounding_is_tried_once(new_study: NewStudy) -> None:
    """The middle of one range at four digits is the middle of another one, nearly."""

    def middle(low: float, high: float) -> SearchSpace:
        table = {"name": "rate", "type": "float", "log": True, "low": low, "high": high}
        return space_of(table | {"default": float(f"{(low * high) ** 0.5:.4g}")})

    source, target = middle(1e-4, 3e-2), middle(2e-5, 7e-3)
    moved = transfer(source.defaults(), source, target)
    assert moved["rate"] != target.defaults()["rate"]
    study = new_study("a", source, [(source.defaults(), 3.0)])
    assert make_portfolio([study], "b", target, 9) == [target.defaults()]


def test_what_broke_the_limit_or_failed_counts_as_the_base_model(new_study: NewStudy) -> None:
    space = resolved()
    best, good = (space.decode([place, 0.5, 0.5]) for place in (0.1, 0.9))
    tried = [(best, 1.0), (good, 3.0), (space.defaults(), 3.9)]
    free = make_portfolio([new_study("a", space, tried)], "b", space, 1, prior="none")
    limited = new_study("a", space, tried, divergences=[0.9, 0.1, 0.1], max_divergence=0.5)
    held = make_portfolio([limited], "b", space, 1, prior="none")
    exploded = new_study("a", space, tried)
    exploded.trials[0] = replace(exploded.trials[0], outcome=Outcome.EXPLODED, value=None)
    sound = make_portfolio([exploded], "b", space, 1, prior="none")
    assert (free, held, sound) == ([best], [good], [good])


def test_trials_that_changed_inside_are_left_out(new_study: NewStudy) -> None:
    space = resolved()
    low, high = space.decode([0.3, 0.5, 0.5]), space.decode([0.7, 0.5, 0.5])
    study = new_study("a", space, [(low, 3.0), (high, 2.0)])
    start, *later = study.trials[1].segments
    moved = (replace(start, hyperparameters=space.decode([0.65, 0.5, 0.5])), *later)
    study.trials[1] = replace(study.trials[1], segments=moved)
    assert make_portfolio([study], "b", space, 9) == [space.defaults(), low]
    del study.trials[0]
    with pytest.raises(StudyError, match=r"that held a configuration, but 'of-a' has none"):
        make_portfolio([study], "b", space, 9)


def test_the_task_that_is_searched_is_refused(new_study: NewStudy) -> None:
    space = resolved()
    studies = [new_study(task, space, [(space.defaults(), 3.0)]) for task in ("classify", "lm")]
    with pytest.raises(StudyError, match=r"studies of other tasks, but 'of-lm' is of 'lm' too"):
        make_portfolio(studies, "lm", space, 4)


def test_studies_of_a_task_are_pooled(new_study: NewStudy) -> None:
    """The best of a poor study isn't as good as its own regret would have it."""
    space = resolved()
    poor, rich = space.decode([0.1, 0.5, 0.5]), space.decode([0.9, 0.5, 0.5])
    studies = [
        new_study("a", space, [(poor, 3.9), (space.defaults(), 3.95)]),
        new_study("a", space, [(rich, 2.0), (space.defaults(), 3.95)]),
    ]
    assert make_portfolio(studies, "b", space, 1, prior="none") == [rich]


class Killed(BaseException):
    """The end of a process, as far as its files are concerned."""


class KillAfter(Display):
    """Ends a study right after its `count`th event is in the journal."""

    def __init__(self, count: int) -> None:
        self.left = count

    def event(self, event: Event) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def settings_of(runs: Path, name: str, **changes: Any) -> Settings:
    small = {"task": "simulated", "trials": 5, "trial_tokens": 4 * 4096, "confirm_seeds": 0}
    sources = {"agent": "portfolio", "portfolio": ["of-a", "of-b"]}
    return Settings.of({"runs": str(runs), "name": name, **small, **sources, **changes})


def search(settings: Settings, display: Display) -> StudyResult:
    """A study without MLflow."""
    journal, pool = begin(settings)
    return conduct(journal, pool, settings, display)


@pytest.fixture
def runs(tmp_path: Path, new_script: Callable[..., Any]) -> Path:
    """A folder with two ended studies of other tasks."""
    for task, places in (("a", (0.3, 0.4)), ("b", (0.35, 0.6))):
        space = resolved()
        tried = [(space.decode([place, 0.5, 0.5]), 2.0 + place) for place in places]
        header, *events = scripted(new_script(task=task), task, space, tried)
        journal = Journal.create(tmp_path / f"of-{task}" / "journal.jsonl", header)
        for event in events:
            journal.append(event)
        journal.close()
    return tmp_path


def tried_by(result: StudyResult) -> list[Mapping[str, Value]]:
    return [trial.segments[0].hyperparameters for trial in result.history.trials.values()]


def test_a_killed_study_goes_on_without_its_sources(runs: Path) -> None:
    whole = search(settings_of(runs, "whole"), Display())
    with pytest.raises(Killed):
        search(settings_of(runs, "otter"), KillAfter(9))
    shutil.rmtree(runs / "of-a")
    shutil.rmtree(runs / "of-b")
    journal, pool, settings = take_up("otter", str(runs), {})
    resumed = conduct(journal, pool, settings, Display())
    assert tried_by(resumed) == tried_by(whole)
    assert resumed.best_value == whole.best_value
    # Four configurations and the default were known; extended, it ends where they do.
    journal, pool, settings = take_up("otter", str(runs), {"trials": 9})
    assert tried_by(conduct(journal, pool, settings, Display())) == tried_by(whole)
    assert len(tried_by(whole)) == len({str(values) for values in tried_by(whole)}) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"portfolio": None}, "portfolio: must name studies of other tasks, but got none"),
        ({"portfolio": []}, "portfolio: must name studies of other tasks, but got none"),
        ({"portfolio": "of-a"}, "portfolio: must be a list of names, but got 'of-a'"),
        ({"portfolio": ["of-c"]}, r"portfolio: must be a study in .*of-a.*, but got 'of-c'"),
        ({"agent": "tpe"}, "portfolio: must go with agent portfolio, but got agent 'tpe'"),
        ({"pruner": "median"}, "pruner: must go with one of .*, but got agent 'portfolio'"),
        ({"portfolio": ["mine"]}, "but 'mine' is of 'simulated' too"),
    ],
)
def test_what_cannot_be_transferred_is_refused(
    changes: dict[str, Any], message: str, runs: Path
) -> None:
    search(settings_of(runs, "mine", agent="random", portfolio=None, trials=1), Display())
    before = sorted(runs.iterdir())
    with pytest.raises(StudyError, match=message):
        search(settings_of(runs, "otter", **changes), Display())
    assert sorted(runs.iterdir()) == before


def shifted_env(task: str, octaves: float, **settings: Any) -> FineTuneEnv:
    """The simulated task under another name, whose default is too low by some octaves."""
    rate = 0.0011 * 2.0**-octaves
    env = make_env("simulated", trial_tokens=4 * 4096, baseline={"learning_rate": rate}, **settings)
    env.run.facts = replace(env.run.facts, task=task)  # type: ignore[misc]
    return env


def test_it_starts_better_than_random_on_a_task_like_the_others(
    make_pool: Callable[..., MeteredPool],
) -> None:
    """Four tasks whose defaults are off by one to two octaves, each searched by the other three.

    The criterion: over tasks and seeds, the mean of the best after 1, 2 and 3 trials is lower than
    random's by a tenth of what training gains at most, and it is the better one in most pairs.
    """
    shifts = {"a": 1.0, "b": 1.3, "c": 1.7, "d": 2.0}

    def run(agent: str, task: str, seed: int, trials: int, **more: Any) -> MeteredPool:
        pool = make_pool(
            agent,
            trials=trials,
            seed=seed,
            factory=f"{__name__}:shifted_env",
            task=task,
            octaves=shifts[task],
        )
        searcher = make_searcher(agent, trials=trials, seed=seed, prior="none", **more)
        searcher.search(pool)
        pool.history.header |= {"name": f"{task}-{seed}", "space": pool.space.to_dict()}
        return pool

    transferred, drawn = [], []
    for seed in range(2):
        # Seeds of their own, so that tasks aren't searched at the same points.
        pools = {t: run("random", t, 4 * seed + index, 12) for index, t in enumerate(shifts)}
        for task, pool in pools.items():
            others = [other.history for name, other in pools.items() if name != task]
            portfolio = make_portfolio(others, task, pool.space, 3, prior="none")
            transferred.append(best_so_far(run("portfolio", task, seed, 3, portfolio=portfolio)))
            drawn.append(best_so_far(pool))
    difference = np.array(drawn) - np.array(transferred)  # shape (tasks × seeds, trials)
    gain = 2.0  # nats between the simulated base model and its floor
    assert (difference.mean(axis=0) > gain / 10).all()
    assert ((difference > 0).mean(axis=0) > 0.5).all()


def best_so_far(pool: MeteredPool) -> list[float]:
    """The lowest value after 1, 2 and 3 trials; the base model's where there is none yet."""
    base = pool.facts.base_objective
    values = [base if trial.value is None else trial.value for trial in pool.trials[:3]]
    return list(itertools.accumulate((min(base, value) for value in values), min))
