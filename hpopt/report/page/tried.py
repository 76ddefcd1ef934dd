"""What a search tried, one configuration a trial, and the same as a study of Optuna's."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hpopt_envs.records import Outcome, RunFacts, Segment, Trial
from hpopt_search_spaces import ChoiceParameter, Parameter, SearchSpace, Value

from ...optuna_space import NativeEncoding, distributions
from ...record.history import History

if TYPE_CHECKING:
    import optuna

BROKEN = (Outcome.EXPLODED, Outcome.OUT_OF_MEMORY)  # told to samplers with the worst value
AVERAGED = (
    "A hyperparameter that varies inside a trial counts as its mean over the trial's tokens, on "
    "the scale of the search space: a geometric mean for learning rate, batch size and divergence "
    "weight."
)


def resolved_space(history: History) -> SearchSpace:
    """Return what the study could tune."""
    return SearchSpace.from_dict(history.header["space"])


def ended(history: History) -> list[Trial]:
    """Return the search's trials that ended after some training, in the order of their start."""
    trials = history.trials.values()
    tests = history.tests
    return [t for t in trials if t.outcome is not None and t.segments and t.id not in tests]


def winnable(history: History) -> list[Trial]:
    """Return those that have a value and can win, whether or not they keep a limit."""
    return [trial for trial in ended(history) if trial.can_win]


def best_first(history: History) -> list[Trial]:
    """Return trials that could win, the best first; those over a limit on divergence come last."""
    facts = history.facts

    def order(trial: Trial) -> tuple[bool, float]:
        assert trial.value is not None
        return not facts.feasible(trial.segments[-1].metrics), trial.value

    return sorted(winnable(history), key=order)


def shown_value(facts: RunFacts, trial: Trial) -> float:
    """Return the value of a trial that has one, as users know it."""
    assert trial.value is not None
    return facts.shown(trial.value)


def configuration(space: SearchSpace, trial: Trial) -> dict[str, Value]:
    """Return one value for each hyperparameter that the trial's path was trained with.

    What varies is averaged over the tokens in the unit interval, which makes a geometric mean of
    a log scale; a choice is the one that most tokens were trained with.
    """
    values = {}
    for parameter in space.parameters:
        segments = [s for s in trial.path if parameter.name in s.hyperparameters]
        if segments:
            values[parameter.name] = _typical(parameter, segments)
    return values


def _typical(parameter: Parameter, segments: list[Segment]) -> Value:
    tokens: Counter[Value] = Counter()
    for segment in segments:
        tokens[segment.hyperparameters[parameter.name]] += segment.tokens
    (value, _), *others = tokens.most_common()
    if not others or isinstance(parameter, ChoiceParameter):
        return value
    places = sum(parameter.to_unit(value) * count for value, count in tokens.items())
    return parameter.from_unit(places / tokens.total())


def varied(space: SearchSpace, trials: Iterable[Trial]) -> list[str]:
    """Return the names of hyperparameters of which trials were given more than one value."""
    tried = [configuration(space, trial) for trial in trials]
    return [n for n in space.names if len({values.get(n) for values in tried}) > 1]


def judged_study(history: History) -> "optuna.Study":
    """Return every trial that says something of a configuration, as its searcher was told of it.

    Those that exploded or ran out of memory have the worst value of all; where there is a limit
    on divergence, values have the excess over it added, see `RunFacts.constrained`. Pruned and
    failed trials, which have no value, are left out.
    """
    facts = history.facts
    values: dict[int, float] = {}
    for trial in winnable(history):
        assert trial.value is not None
        values[trial.id] = facts.constrained(trial.value, trial.segments[-1].metrics)
    worst = max(values.values(), default=facts.base_objective)
    broken = [trial for trial in ended(history) if trial.outcome in BROKEN]
    values |= {trial.id: worst for trial in broken}
    return _study(history, [t for t in ended(history) if t.id in values], values)


def valued_study(history: History, trials: Sequence[Trial]) -> "optuna.Study":
    """Return trials that could win with their own values; a limit on divergence is a constraint."""
    values = {trial.id: trial.value for trial in trials if trial.value is not None}
    return _study(history, trials, values, limit=history.facts.max_divergence)


def _study(
    history: History,
    trials: Iterable[Trial],
    values: dict[int, float],
    limit: float | None = None,
) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    facts, space = history.facts, resolved_space(history)
    encoding, known = NativeEncoding(space), distributions(space)
    study = optuna.create_study(direction="maximize" if facts.maximize else "minimize")
    for trial in trials:
        parameters = encoding.parameters(configuration(space, trial))
        constraints = None
        if limit is not None:
            constraints = {"divergence": trial.segments[-1].metrics["divergence"] - limit}
        study.add_trial(
            optuna.trial.create_trial(
                value=facts.shown(values[trial.id]),
                params=parameters,
                distributions={name: known[name] for name in parameters},
                constraints=constraints,
            )
        )
    return study
