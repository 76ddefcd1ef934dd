"""Which hyperparameters mattered, by Optuna's estimators on any searcher's trials."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpopt_search_spaces import ChoiceParameter, SearchSpace

from ...record.history import History
from .tried import judged_study, resolved_space

if TYPE_CHECKING:
    import optuna

LEAST_TRIALS = 10  # from which on importance is estimated at all
ENOUGH_TRIALS = 50  # PED-ANOVA then has five in its best tenth, as Optuna's documentation asks for
MOST_FANOVA_TRIALS = 300  # its time grows with their square


@dataclass(frozen=True)
class Importances:
    """Shares of importance of the hyperparameters; each estimator's sum to 1.

    Attributes:
        trials: that the estimates rest on.
        ped_anova: how much a hyperparameter sets the best tenth of the trials apart from all; the
            most important first.
        fanova: share of the values' variance over the search space's own scales that it explains
            alone; only of those that every trial had.
    """

    trials: int
    ped_anova: Mapping[str, float]
    fanova: Mapping[str, float]

    @property
    def names(self) -> list[str]:
        """The most important by PED-ANOVA first."""
        return list(self.ped_anova)


def importances(history: History) -> Importances | str:
    """Return the importances of a study's hyperparameters, or why there are none.

    References:
        Watanabe, Bansal, Hutter, "PED-ANOVA", IJCAI 2023; Hutter, Hoos, Leyton-Brown, "An
        Efficient Approach for Assessing Hyperparameter Importance", ICML 2014.
    """
    study = judged_study(history)
    trials = study.get_trials(deepcopy=False)
    if len(trials) < LEAST_TRIALS:
        return (
            f"it needs {LEAST_TRIALS} trials that ended with a value or exploded, not {len(trials)}"
        )
    if len({trial.value for trial in trials}) == 1:
        return "every trial came to the same value"
    return Importances(len(trials), ped_anova(study), fanova(study, resolved_space(history)))


def ped_anova(study: "optuna.Study") -> dict[str, float]:
    """Return Optuna's PED-ANOVA importances, the greatest first."""
    from optuna.importance import PedAnovaImportanceEvaluator

    return _normalised(study, PedAnovaImportanceEvaluator())


def fanova(study: "optuna.Study", space: SearchSpace) -> dict[str, float]:
    """Return Optuna's fANOVA importances, of every k-th trial where there are very many.

    Optuna's takes the variance over the values themselves, even of a log scale: nearly all of a
    learning rate's range is then where training explodes, and it hardly seems to matter. So it is
    given the place of each value in the unit interval.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    trials = study.get_trials(deepcopy=False)
    even = optuna.create_study(direction=study.direction)
    for trial in trials[:: 1 + (len(trials) - 1) // MOST_FANOVA_TRIALS]:
        even.add_trial(_on_even_scales(trial, space))
    try:
        return _normalised(even, FanovaImportanceEvaluator(seed=0))
    except RuntimeError:  # no forest of it splits: the values hardly differ
        return {}


def _on_even_scales(
    trial: "optuna.trial.FrozenTrial", space: SearchSpace
) -> "optuna.trial.FrozenTrial":
    """Return the trial with numbers at their places in the unit interval; choices stay."""
    import optuna

    params, scales = dict(trial.params), dict(trial.distributions)
    for name, value in trial.params.items():
        if not isinstance(space[name], ChoiceParameter):
            params[name] = space[name].to_unit(value)
            scales[name] = optuna.distributions.FloatDistribution(0.0, 1.0)
    return optuna.trial.create_trial(value=trial.value, params=params, distributions=scales)


def _normalised(
    study: "optuna.Study", evaluator: "optuna.importance.BaseImportanceEvaluator"
) -> dict[str, float]:
    from optuna.importance import get_param_importances

    with warnings.catch_warnings():
        # Of few trials with a conditional hyperparameter: the page says how many trials there are.
        warnings.simplefilter("ignore", UserWarning)
        shares = get_param_importances(study, evaluator=evaluator)
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))  # ties by name
    return {name: float(share) for name, share in ranked}
