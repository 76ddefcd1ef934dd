"""How a check fails: with one line, whatever somebody's code did."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from hpopt_envs.errors import describe
from hpopt_search_spaces import HpoptError

from ..searchers.randomness import preserved_generators

LONGEST = 200  # characters of what was got


class Broken(AssertionError):
    """A promise that isn't kept."""


def require(holds: bool, where: str, what: str, got: object) -> None:
    """Raise `Broken` unless something holds.

    Args:
        holds: whether it does.
        where: in which part, method or trial.
        what: must hold, such as "the loss must be finite".
        got: instead; a text is in our words.
    """
    if not holds:
        said = got if isinstance(got, str) else repr(got)
        raise Broken(f"{where}: {what}, but got {' '.join(said.split()):.{LONGEST}}")


@contextmanager
def checking(where: str) -> Iterator[None]:
    """Turn whatever is raised inside into `Broken`; global generators are left as they were."""
    try:
        with preserved_generators():
            yield
    except Broken:
        raise
    except HpoptError as error:
        kind = where.partition(" ")[0]  # "task", which an error of a task's begins with too
        said = str(error)
        raise Broken(said if said.startswith(kind) else f"{where}: {said}") from error
    except Exception as error:
        raise Broken(f"{where}: must raise nothing, but got {describe(error)}") from error


@contextmanager
def untouched_generators(where: str, seed: int) -> Iterator[None]:
    """Require that nobody draws from the global generators inside, or seeds them.

    Args:
        where: names who must not.
        seed: of the state that they are in meanwhile; afterwards they are as they were before.
    """
    with preserved_generators():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = _states()
        yield
        for name, state in _states().items():
            what = f"{name}'s global generator must be left as it was"
            require(state == before[name], where, what, "another state of it")


def _states() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "random": random.getstate(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
