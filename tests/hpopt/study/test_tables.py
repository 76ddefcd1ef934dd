"""Searches on tables of finished runs, against what can be worked out without them."""

import csv
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray

import hpopt
from hpopt.pool.metered import MeteredPool
from hpopt.record.history import History
from hpopt_envs.randomness import key
from hpopt_envs.records import Outcome
from hpopt_envs.stand_ins.finished_runs import read_runs, tasks_of
from tests.hpopt.searching import make_searcher

MakePool = Callable[..., MeteredPool]

CURVES = {rate: [3.0 - rate, 2.5 - rate, 2.0 - rate] for rate in (0.1, 0.2, 0.4, 0.8)}
CURVES[0.8] = [2.0, 1.0]  # ended early, and still the best of all
TABLE = "task,learning_rate,batch_size,checkpoint,loss\n" + "".join(
    f"t,{rate},8,{step},{loss}\n"
    for rate, curve in CURVES.items()
    for step, loss in enumerate(curve, start=1)
)
TABLE += "t,0.1,16,1,4\nt,0.1,16,2,3.5\nt,0.1,16,3,3\n"  # no other run has this batch


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    return "table:t.csv"


def search(make_pool: MakePool, agent: str, task: str, prior: str = "none", **how: Any) -> History:
    pool = make_pool(agent, task=task, trial_tokens=None, **how)
    pruner = how.get("pruner", "none")
    plan = {"trials": how["trials"], "seed": how.get("seed", 0), "prior": prior}
    make_searcher(agent, pruner, **plan).search(pool)
    return pool.history


def test_a_study_of_a_table_finds_its_best_run_and_pays_for_what_was_run(table: str) -> None:
    result = hpopt.search(task=table, agent="random", trials=20, track="parents", name="s")
    assert result.best is not None
    assert result.best_value == result.facts.best_objective == 1.0
    assert len(result.best.segments) == 2
    failed = [trial for trial in result.trials if trial.outcome is Outcome.FAILED]
    ended = [trial for trial in result.trials if trial.outcome is Outcome.COMPLETED]
    short = [trial for trial in ended if len(trial.segments) == 2]
    assert failed
    assert {trial.reason.partition(":")[0] for trial in failed} == {"no such run in the table"}
    assert result.history.search_cost == 3 * len(result.trials) - len(short)
    assert result.final is None  # there are neither other seeds nor a test split
    assert not result.history.tests
    (note,) = result.facts.notes
    assert "nothing is confirmed" in note


def test_a_trial_is_recorded_with_the_finished_run_s_own_hyperparameters(
    make_pool: MakePool, table: str
) -> None:
    history = search(make_pool, "random", table, trials=30)
    runs = read_runs(table)
    for trial in history.trials.values():
        if trial.outcome is not Outcome.FAILED:
            assert trial.segments
        for segment in trial.segments:
            if trial.outcome is not Outcome.FAILED:
                cell = tuple(segment.hyperparameters[name] for name in runs.grid)
                assert cell in runs.runs
                assert set(segment.hyperparameters) == set(runs.grid)  # no shape is claimed


def test_a_pruner_stops_runs_by_their_checkpoints(make_pool: MakePool, table: str) -> None:
    history = search(make_pool, "random", table, pruner="successive-halving", trials=30)
    pruned = [trial for trial in history.trials.values() if trial.pruned]
    assert pruned
    assert all(trial.segments[-1].metrics["loss"] > 2.0 for trial in pruned)
    assert history.best is not None
    assert history.best.value == 1.0


def test_a_study_goes_on_where_its_first_runs_are_missing(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default is the middle of the grid; this table lacks it, and most other runs too."""
    monkeypatch.chdir(tmp_path)
    cells = itertools.product(range(1, 8), repeat=3)
    rows = "".join(f"t,{a},{b},{c},{a}\n" for a, b, c in cells if (a + 2 * b + 3 * c) % 7 == 0)
    (tmp_path / "t.csv").write_text("task,a,b,c,loss\n" + rows)
    history = search(make_pool, "random", "table:t.csv", prior="default", trials=40, seed=2)
    outcomes = [trial.outcome for trial in history.trials.values()]
    assert outcomes[:3] == [Outcome.FAILED] * 3
    assert Outcome.COMPLETED in outcomes


# What follows is the shared table of pretraining runs; see the README beside it.

STEP_LAW = "steplaw_dense.csv"
SEEDS, TRIALS = 10, 10
shared = pytest.mark.skipif(
    not (Path(os.environ.get("HPOPT_TABLES", "")) / STEP_LAW).is_file(),
    reason=f"HPOPT_TABLES must name a folder that has {STEP_LAW}",
)


@dataclass(frozen=True)
class Grid:
    """A task of the table, read by the test itself."""

    losses: Mapping[tuple[float, int], float]

    @classmethod
    def read(cls, task: str) -> "Grid":
        with (Path(os.environ["HPOPT_TABLES"]) / STEP_LAW).open() as file:
            rows = [row for row in csv.DictReader(file) if row["task"] == task]
        return cls(
            {(float(r["learning_rate"]), int(r["batch_size"])): float(r["loss"]) for r in rows}
        )

    @property
    def rates(self) -> list[float]:
        return sorted({rate for rate, _ in self.losses})

    @property
    def sizes(self) -> list[int]:
        return sorted({size for _, size in self.losses})

    def loss(self, rate: float, size: int) -> float | None:
        """Of the nearest cell on the log scale; None where there is none."""
        nearest = (
            min(self.rates, key=lambda known: abs(math.log(rate / known))),
            min(self.sizes, key=lambda known: abs(math.log(size / known))),
        )
        return self.losses.get(nearest)

    def regret(self, loss: float | None) -> float:
        """0 of the best run, 1 of the median run and of whatever is worse."""
        best, middle = min(self.losses.values()), median(self.losses.values())
        return 1.0 if loss is None else min(1.0, (loss - best) / (middle - best))

    def rate_shares(self) -> dict[float, float]:
        """Share of the unit interval that each rate is nearest to: it ends halfway to the next."""
        logs = np.log(self.rates)
        ends = np.concatenate([logs[:1], (logs[1:] + logs[:-1]) / 2, logs[-1:]])
        return dict(zip(self.rates, np.diff(ends) / (logs[-1] - logs[0]), strict=True))

    def size_shares(self) -> dict[int, float]:
        """The same of batch sizes: every whole number has its bin, and belongs to one of them."""
        low, high = self.sizes[0], self.sizes[-1]
        shares = dict.fromkeys(self.sizes, 0.0)
        for size in range(low, high + 1):
            nearest = min(self.sizes, key=lambda known: abs(math.log(size / known)))
            bin_ = math.log((size + 0.5) / (size - 0.5))
            shares[nearest] += bin_ / math.log((high + 0.5) / (low - 0.5))
        return shares

    def chances(self, regrets: Sequence[float]) -> NDArray[np.float64]:
        """Chance that the best of `TRIALS` uniform points has at most each regret."""
        rates, sizes = self.rate_shares(), self.size_shares()
        found = np.array([self.regret(loss) for loss in self.losses.values()])
        shares = np.array([rates[rate] * sizes[size] for rate, size in self.losses])
        good = np.array([shares[found <= regret].sum() for regret in regrets])
        return np.where(np.array(regrets) >= 1.0, 1.0, 1.0 - (1.0 - good) ** TRIALS)


def studies(
    make_pool: MakePool, agent: str, prior: str
) -> Iterator[tuple[Grid, dict[int, History]]]:
    """Ten studies of each task, by seeds of its own: no two of them draw the same points."""
    for index, task in enumerate(tasks_of(STEP_LAW)):
        histories = {}
        for seed in range(SEEDS * index, SEEDS * (index + 1)):
            table = f"table:{STEP_LAW}:{task}"
            histories[seed] = search(make_pool, agent, table, prior, trials=TRIALS, seed=seed)
        yield Grid.read(task), histories


@shared
def test_random_search_regrets_what_order_statistics_say(make_pool: MakePool) -> None:
    """At the exact quartiles of all tasks' mixture, as many studies are below as must be.

    Given its task, each study is below with a known chance, independently of the others; the
    bounds are three standard deviations of their number.
    """
    ended = list(studies(make_pool, "random", "none"))
    bests = [(grid, h.best) for grid, histories in ended for h in histories.values()]
    regrets = np.array([grid.regret(best.value if best else None) for grid, best in bests])
    levels = sorted({grid.regret(loss) for grid, _ in ended for loss in grid.losses.values()})
    chances = np.array([grid.chances(levels) for grid, _ in ended])
    assert len(regrets) == 17 * SEEDS
    for quartile in (0.25, 0.5, 0.75):
        at = int(np.searchsorted(chances.mean(axis=0), quartile))
        expected = SEEDS * chances[:, at].sum()
        deviation = math.sqrt(SEEDS * np.sum(chances[:, at] * (1.0 - chances[:, at])))
        assert abs(np.sum(regrets <= levels[at]) - expected) < 3.0 * deviation


@shared
def test_tpe_on_a_table_is_optuna_alone(make_pool: MakePool) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for grid, histories in studies(make_pool, "tpe", "default"):
        for seed, history in histories.items():
            losses = [trial.value for trial in history.trials.values()]
            assert losses == optuna_alone(grid, seed)


def optuna_alone(grid: Grid, seed: int) -> list[float | None]:
    """The losses that TPE finds, driven by hand."""
    seeded = key(seed, "sampler") % 2**32
    sampler = optuna.samplers.TPESampler(n_startup_trials=max(3, TRIALS // 5), seed=seeded)
    study = optuna.create_study(sampler=sampler)
    rates, sizes = grid.rates, grid.sizes
    middle = rates[(len(rates) - 1) // 2], sizes[(len(sizes) - 1) // 2]
    study.enqueue_trial({"learning_rate": middle[0], "batch_size": middle[1]})
    losses = []
    for _ in range(TRIALS):
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", rates[0], rates[-1], log=True)
        size = trial.suggest_int("batch_size", sizes[0], sizes[-1], log=True)
        loss = grid.loss(rate, size)
        state = optuna.trial.TrialState.FAIL if loss is None else None
        study.tell(trial, loss, state=state)
        losses.append(loss)
    return losses
