"""Importance is what Optuna says, whoever searched; a trial counts as one configuration."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import optuna
import pytest

from hpopt.record.history import History
from hpopt.report.page.importance import LEAST_TRIALS, Importances, importances
from hpopt.report.page.tried import configuration, judged_study
from hpopt_envs.records import Control, Outcome, RunFacts, Segment, Trial
from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    Value,
)

LEARNING_RATE = FloatParameter("learning_rate", 1e-5, 1e-1, 1e-3, log=True, dynamic=True)
LINEAR = SearchSpace(
    "linear",
    (
        FloatParameter("first", 0.0, 1.0, 0.5),
        FloatParameter("second", 0.0, 1.0, 0.5),
        ChoiceParameter("third", ("a", "b", "c"), "a"),
    ),
)
REAL = SearchSpace("real", (LEARNING_RATE, FloatParameter("dropout", 0.0, 0.3, 0.0)))


def trial_of(
    number: int,
    *parts: tuple[dict[str, Value], int],
    value: float | None,
    outcome: Outcome = Outcome.COMPLETED,
) -> Trial:
    """A trial of segments (hyperparameters, tokens) with a value at its end."""
    segments, trained = [], 0
    for index, (values, tokens) in enumerate(parts):
        trained += tokens
        segments.append(
            Segment(
                id=index,
                parent=index - 1 if index else None,
                hyperparameters=values,
                tokens=tokens,
                training_tokens=trained,
                optimizer_steps=1,
                train_loss=1.0,
                penalty=None,
                gradient_norm=1.0,
                gradient_norm_std=0.0,
                clip_fraction=0.0,
                noise_scale=None,
                metrics={"loss": 0.0 if value is None else value},
                objective=value,
                control=Control.CONTINUE,
                cost=1.0,
                study_cost=float(number),
                flops=1.0,
                wall_seconds=0.0,
            )
        )
    return Trial(number, 0, tuple(segments), outcome, value=value)


def history_of(space: SearchSpace, facts: RunFacts, trials: Sequence[Trial]) -> History:
    history = History()
    event = {"event": "study", "settings": {}, "facts": asdict(facts), "space": space.to_dict()}
    history.apply(event)
    history.trials = {trial.id: trial for trial in trials}
    return history


def test_importances_are_those_of_a_study_that_optuna_drove_alone(facts: RunFacts) -> None:
    def objective(trial: optuna.Trial) -> float:
        first = trial.suggest_float("first", 0, 1)
        second = trial.suggest_float("second", 0, 1)
        third = trial.suggest_categorical("third", ["a", "b", "c"])
        return 4 * first**2 + second + (third == "b")

    alone = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    alone.optimize(objective, n_trials=60)
    trials = [trial_of(t.number, (dict(t.params), 10), value=t.value) for t in alone.trials]
    ours = importances(history_of(LINEAR, facts, trials))
    assert isinstance(ours, Importances)
    alone_ped = optuna.importance.get_param_importances(alone)
    assert ours.ped_anova == pytest.approx(alone_ped)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    alone_fanova = optuna.importance.get_param_importances(alone, evaluator=evaluator)
    assert ours.fanova == pytest.approx(alone_fanova, abs=1e-4)


def test_a_cliff_on_a_log_scale_is_seen_where_it_is(facts: RunFacts) -> None:
    """On the linear scale, nearly all of the learning rate's range lies beyond the cliff."""
    generator = np.random.default_rng(0)
    trials = []
    for number, (unit, dropout) in enumerate(generator.random((80, 2))):
        values: dict[str, Value] = {
            "learning_rate": LEARNING_RATE.from_unit(float(unit)),
            "dropout": float(dropout) * 0.3,
        }
        if unit > 0.6:
            trials.append(trial_of(number, (values, 10), value=None, outcome=Outcome.EXPLODED))
        else:
            trials.append(trial_of(number, (values, 10), value=3.0 + generator.random()))
    found = importances(history_of(REAL, facts, trials))
    assert isinstance(found, Importances)
    assert found.fanova["learning_rate"] > 0.8


@pytest.mark.parametrize("maximize", [False, True])
def test_the_one_hyperparameter_that_matters_is_the_most_important(
    maximize: bool, facts: RunFacts
) -> None:
    generator = np.random.default_rng(0)
    facts = RunFacts(**asdict(facts) | {"maximize": maximize})
    trials = []
    for number, (unit, dropout) in enumerate(generator.random((60, 2))):
        values: dict[str, Value] = {
            "learning_rate": LEARNING_RATE.from_unit(float(unit)),
            "dropout": float(dropout) * 0.3,
        }
        trials.append(trial_of(number, (values, 10), value=abs(float(unit) - 0.4)))
    found = importances(history_of(REAL, facts, trials))
    assert isinstance(found, Importances)
    assert found.ped_anova["learning_rate"] > 0.8
    assert found.fanova["learning_rate"] > 0.9
    assert found.names[0] == "learning_rate"


def test_trials_that_exploded_count_as_the_worst(facts: RunFacts) -> None:
    values: dict[str, Value] = {"learning_rate": 1e-3, "dropout": 0.1}
    trials = [
        trial_of(0, (values, 10), value=1.0),
        trial_of(1, (values, 10), value=3.0),
        trial_of(2, (values, 10), value=None, outcome=Outcome.EXPLODED),
        trial_of(3, (values, 10), value=None, outcome=Outcome.FAILED),
        trial_of(4, (values, 10), value=None, outcome=Outcome.STOPPED),  # pruned
    ]
    study = judged_study(history_of(REAL, facts, trials))
    assert [trial.value for trial in study.trials] == [1.0, 3.0, 3.0]


def test_few_trials_and_equal_values_say_why_there_is_no_importance(facts: RunFacts) -> None:
    values: dict[str, Value] = {"learning_rate": 1e-3, "dropout": 0.1}
    same = [trial_of(number, (values, 10), value=1.0) for number in range(LEAST_TRIALS)]
    few = importances(history_of(REAL, facts, same[:-1]))
    assert few == "it needs 10 trials that ended with a value or exploded, not 9"
    assert importances(history_of(REAL, facts, same)) == "every trial came to the same value"


def test_a_learning_rate_that_varies_counts_as_its_geometric_mean_over_tokens() -> None:
    trial = trial_of(0, ({"learning_rate": 1e-3}, 100), ({"learning_rate": 4e-3}, 300), value=1.0)
    mean = configuration(REAL, trial)["learning_rate"]
    assert mean == pytest.approx(1e-3 * 4 ** (3 / 4), rel=1e-5)


def test_a_batch_size_that_varies_stays_a_legal_value_between() -> None:
    batch = IntegerParameter("batch_size", 4, 64, 8, powers_of_two=True, dynamic=True)
    trial = trial_of(0, ({"batch_size": 4}, 100), ({"batch_size": 16}, 100), value=1.0)
    assert configuration(SearchSpace("batch", (batch,)), trial) == {"batch_size": 8}


def test_what_a_trial_was_not_given_is_not_in_its_configuration(space: SearchSpace) -> None:
    trial = trial_of(0, ({"learning_rate": 1e-3, "schedule_shape": "linear"}, 10), value=1.0)
    assert configuration(space, trial) == {"learning_rate": 1e-3}
