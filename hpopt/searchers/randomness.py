"""Global random generators, which Stable-Baselines3 seeds and draws from."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's (CPU) global generators as they were found.

    Around an agent it keeps the agent's draws from whoever called it; around a pool's work in this
    process it keeps what is drawn there from the agent, who thus draws the same wherever trials
    run.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
