"""What Optuna alone would have proposed, driven by hand, against what our journal says."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpopt.pool.metered import MeteredPool
from hpopt.record.history import History
from hpopt.record.journal import read_events
from hpopt_envs.randomness import key
from hpopt_envs.records import Outcome, Trial
from hpopt_search_spaces import SearchSpace
from tests.hpopt.searching import make_searcher

MakePool = Callable[..., MeteredPool]
Ranges = dict[str, tuple[float, float]]

TRIALS = 14


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def journaled(
    make_pool: MakePool, tmp_path: Path, agent: str, pruner: str, **settings: Any
) -> tuple[list[Trial], SearchSpace, float]:
    """Run our sampler, and read its trials back from the journal."""
    pool = make_pool(agent, pruner, trials=TRIALS, seed=5, folder="ours", **settings)
    make_searcher(agent, pruner, trials=TRIALS, seed=5).search(pool)
    history = History()
    for event in read_events(tmp_path / "ours" / "journal.jsonl"):
        history.apply(event)
    assert any(trial.outcome is Outcome.EXPLODED for trial in history.trials.values())
    return list(history.trials.values()), pool.space, pool.facts.base_objective


def hyperparameters(trial: Trial, space: SearchSpace) -> dict[str, Any]:
    return {n: v for n, v in trial.segments[0].hyperparameters.items() if n in space}


@pytest.mark.parametrize(
    ("agent", "kind"), [("tpe", optuna.samplers.TPESampler), ("gp", optuna.samplers.GPSampler)]
)
def test_our_samplers_propose_what_optuna_alone_proposes(
    agent: str, kind: Any, make_pool: MakePool, tmp_path: Path
) -> None:
    """TPE minds ranks alone; the GP, each value that it is told."""
    trials, space, worst = journaled(make_pool, tmp_path, agent, "none")
    rate, weight = space["learning_rate"].native_range, space["divergence_weight"].native_range
    sampler = kind(n_startup_trials=3, seed=key(5, "sampler") % 2**32)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(space.defaults())
    values = []
    for trial in trials:
        asked = study.ask()
        raw = {
            "learning_rate": asked.suggest_float("learning_rate", *rate, log=True),
            "batch_size": asked.suggest_int("batch_size", 4, 64, log=True),
            "divergence_weight": asked.suggest_float("divergence_weight", *weight, log=True),
        }
        assert space.snap(raw) == hyperparameters(trial, space)
        if trial.value is not None:
            values.append(trial.value)
        study.tell(asked, max(values, default=worst) if trial.value is None else trial.value)
    assert len(trials) >= TRIALS


def test_our_tpe_and_hyperband_do_what_optuna_alone_does(
    make_pool: MakePool, tmp_path: Path
) -> None:
    """With a pruner, on a space with choices and a conditional hyperparameter."""
    settings = {"space": "full", "trial_tokens": 16 * 4096}
    trials, space, worst = journaled(make_pool, tmp_path, "tpe", "hyperband", **settings)
    sampler = optuna.samplers.TPESampler(n_startup_trials=3, seed=key(5, "sampler") % 2**32)
    pruner = optuna.pruners.HyperbandPruner(min_resource=2, max_resource=16)
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name="hpopt")
    study.enqueue_trial(space.defaults())
    ends = []
    for trial in trials:
        asked = study.ask()
        assert space.snap(suggest_full(asked, space)) == hyperparameters(trial, space)
        last = trial.segments[-1]
        for segment in trial.segments:
            if segment is last and not trial.pruned:
                break
            asked.report(segment.objective, step=segment.id)
            assert asked.should_prune() == (trial.pruned and segment is last)
        if trial.pruned:
            ends.append(last.objective)
            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        elif trial.value is None:
            study.tell(asked, max(ends, default=worst))
        else:
            ends.append(trial.value)
            study.tell(asked, trial.value)
    assert any(trial.pruned for trial in trials)


def suggest_full(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """The shipped "full" space, spelled out."""

    def log(name: str) -> float:
        return trial.suggest_float(name, *space[name].native_range, log=True)

    raw: dict[str, Any] = {"learning_rate": log("learning_rate")}
    raw["batch_size"] = trial.suggest_int("batch_size", 4, 64, log=True)
    raw["divergence_weight"] = log("divergence_weight")
    raw["optimizer"] = trial.suggest_categorical("optimizer", ["adamw", "adagrad", "momentum"])
    if raw["optimizer"] == "adamw":
        raw["weight_decay"] = log("weight_decay")
    raw["warmup_fraction"] = trial.suggest_float("warmup_fraction", 0.0, 0.2)
    shapes = ["constant", "linear", "cosine"]
    raw["schedule_shape"] = trial.suggest_categorical("schedule_shape", shapes)
    raw["dropout"] = trial.suggest_float("dropout", 0.0, 0.3)
    return raw
