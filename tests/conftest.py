"""Settings of the whole suite."""

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

# One thread a process, those that tests start included: tests run in several at once.
os.environ["OMP_NUM_THREADS"] = "1"

# Where a developer's own runs are recorded is no matter of the suite.
for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
    os.environ.pop(variable, None)

# No deadline, since no test may depend on the machine's speed; the same examples every time, so
# that a change and not chance makes a test fail.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Handlers of signals stay as they were, though the command line has its own."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
