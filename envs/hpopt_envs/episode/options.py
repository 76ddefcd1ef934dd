"""What a caller may say of a trial when it begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from hpopt_search_spaces import SearchSpace, Value, nearest_names
from hpopt_search_spaces.checks import is_integer, shown

from ..errors import WorldError
from ..messages import StudyFacts
from ..records import RunFacts
from ..schedules import AGENT_SHAPE
from .state import Unit

HALF = 0.5 + 1e-9  # of the unit cube, with what rounding may add


@dataclass(frozen=True)
class ResetOptions:
    """The options of `FineTuneEnv.reset`.

    Attributes:
        trial: its id, which `Trial` and nothing else shows.
        initial: unit-cube point that relative moves start from and that static coordinates of
            relative and discrete views keep; None for the space's default.
        fixed: hyperparameters that the space lacks, held in this trial.
        test: measure nothing before its end, and there on the test split too.
        study: facts of the study for the observation.
    """

    trial: int = 0
    initial: Unit | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)
    test: bool = False
    study: StudyFacts = field(default_factory=StudyFacts)

    @classmethod
    def of(
        cls, options: Mapping[str, Any] | None, space: SearchSpace, facts: RunFacts
    ) -> "ResetOptions":
        """Return options from what a caller said.

        Raises:
            WorldError: a name is unknown, or a value is impossible.
        """
        said = {} if options is None else options
        if not isinstance(said, Mapping):
            raise WorldError(f"options: must be a dictionary, but got {shown(said)}")
        known = [f.name for f in fields(cls)]
        for name in said:
            if name not in known:
                near = nearest_names(str(name), known)
                raise WorldError(f"options: a trial has no option {shown(name)} ({near})")
        asked = cls(**{name: value for name, value in said.items() if value is not None})
        _require(is_integer(asked.trial) and asked.trial >= 0, "trial", "an id from 0", asked.trial)
        _require(isinstance(asked.test, bool), "test", "true or false", asked.test)
        _require(isinstance(asked.study, StudyFacts), "study", "StudyFacts", asked.study)
        if asked.initial is not None:
            _check_initial(asked.initial, space)
        _check_fixed(asked.fixed, space, facts)
        return asked


def _require(holds: bool, option: str, what: str, got: Any) -> None:
    if not holds:
        raise WorldError(f"options: {option} must be {what}, but got {shown(got)}")


def _check_initial(initial: Any, space: SearchSpace) -> None:
    try:
        point = np.asarray(initial, dtype=np.float64)
    except (TypeError, ValueError):
        point = np.empty(0)
    inside = point.shape == (space.dimension,) and bool((np.abs(point - 0.5) <= HALF).all())
    what = f"{space.dimension} numbers from 0 to 1, one for each of {', '.join(space.names)}"
    _require(inside, "initial", what, initial)


def _check_fixed(fixed: Any, space: SearchSpace, facts: RunFacts) -> None:
    _require(isinstance(fixed, Mapping), "fixed", "a dictionary of hyperparameters", fixed)
    known = [*space.names, *AGENT_SHAPE, *facts.hyperparameters]
    for name in fixed:
        if facts.hyperparameters and name not in known:
            near = nearest_names(str(name), known)
            raise WorldError(f"options: training has no hyperparameter {shown(name)} ({near})")
