"""What belongs to whoever calls us: it is as before when a study has ended."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_studies = 0  # under way in this process, of several threads
_restore: list[Callable[[], None]] = []


@contextmanager
def callers_process() -> Iterator[None]:
    """Give back torch's threads, Optuna's verbosity and Python's generator, changed by studies.

    Where several studies run at once, the last to end does: until then they need what they set.
    """
    global _studies
    with _lock:
        _studies += 1
        if _studies == 1:
            _restore[:] = _taken()
    try:
        yield
    finally:
        with _lock:
            _studies -= 1
            if _studies == 0:
                for give_back in _restore:
                    give_back()


def _taken() -> list[Callable[[], None]]:
    """Return what puts things back as they are now."""
    import optuna
    import torch

    drawn = random.getstate()  # some libraries draw when they are imported
    threads, verbosity = torch.get_num_threads(), optuna.logging.get_verbosity()
    return [
        lambda: random.setstate(drawn),
        lambda: torch.set_num_threads(threads),
        lambda: optuna.logging.set_verbosity(verbosity),
    ]
