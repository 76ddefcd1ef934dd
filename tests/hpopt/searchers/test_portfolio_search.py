"""Searches by a portfolio: killed, refused, and better than random."""

import itertools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpopt.errors import StudyError
from hpopt.pool.metered import MeteredPool
from hpopt.record.journal import Journal
from hpopt.searchers.portfolio import make_portfolio
from hpopt.settings.study import Settings
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.opening import begin, take_up
from hpopt.study.result import StudyResult
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_search_spaces import Value
from tests.displaced import displaced
from tests.hpopt.asking import asked
from tests.hpopt.searchers.portfolios import resolved, scripted
from tests.hpopt.searching import KillAfter, Killed, make_searcher


def settings_of(runs: Path, name: str, **changes: Any) -> Settings:
    small = {"task": "simulated", "trials": 5, "trial_tokens": 4 * 4096, "confirm_seeds": 0}
    sources = {"agent": "portfolio", "portfolio": ["of-a", "of-b"]}
    return asked({"runs": str(runs), "name": name, **small, **sources, **changes})


def search(settings: Settings, display: Display) -> StudyResult:
    """A study without MLflow."""
    return conduct(begin(settings), display)


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
    resumed = conduct(take_up("otter", str(runs), {}), Display())
    assert tried_by(resumed) == tried_by(whole)
    assert resumed.best_value == whole.best_value
    # Four configurations and the default were known; extended, it ends where they do.
    extended = take_up("otter", str(runs), {"trials": 9})
    assert tried_by(conduct(extended, Display())) == tried_by(whole)
    assert len(tried_by(whole)) == len({str(values) for values in tried_by(whole)}) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"portfolio": None}, "portfolio: must name studies of other tasks, but got none"),
        ({"portfolio": []}, r"portfolio: must be a list of texts, NAME,NAME, but got \[\]"),
        ({"portfolio": "of-a"}, "portfolio: must be a list of texts, NAME,NAME, but got 'of-a'"),
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
    space = displaced({"learning_rate": rate})
    env = make_env("simulated", trial_tokens=4 * 4096, space=space, **settings)
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
