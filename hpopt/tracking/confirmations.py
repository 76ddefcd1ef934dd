"""What a trial on a fresh seed confirms, told from what it is trained with."""

from collections.abc import Mapping
from typing import Any

from hpopt_envs.records import Trial
from hpopt_search_spaces import SearchSpace

from ..record.history import History
from ..record.schedule import default_configuration

WINNER, DEFAULT = "winner", "default"


def confirmed(history: History, trial: Trial, hyperparameters: Mapping[str, Any]) -> str:
    """Return what a confirmation judges.

    Args:
        history: of the study.
        trial: on a fresh seed.
        hyperparameters: of its first segment.

    Returns:
        What the study says in its header where it confirms what others found; else "winner" or
        "default".
    """
    named = history.header.get("confirms")
    before = [other for other in sorted(history.tests) if other < trial.id]
    again = sum(history.trials[other].seed == trial.seed for other in before)
    if named:
        return str(named[again % len(named)])
    space = SearchSpace.from_dict(history.header["space"])
    default = default_configuration(space, history.facts)
    path = [segment.hyperparameters for segment in history.best.path] if history.best else []
    changes = any(values != default for values in path)
    if changes and hyperparameters == path[0] == default:  # begins so; the winner comes first
        return (WINNER, DEFAULT)[again % 2]
    return DEFAULT if hyperparameters == default else WINNER
