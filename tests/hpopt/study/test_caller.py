"""A study run from Python leaves the process of whoever called it as it was."""

import asyncio
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

import hpopt

ASKS: dict[str, Any] = {"task": "simulated", "trials": 2, "trial_tokens": 4 * 4096}


def state() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "verbosity": optuna.logging.get_verbosity(),
        "handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "folder": os.getcwd(),
        "generators": (
            random.getstate(),
            np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
            torch.get_rng_state().tolist(),
        ),
    }


@pytest.fixture(autouse=True)
def callers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A caller with settings of its own."""
    threads, verbosity = torch.get_num_threads(), optuna.logging.get_verbosity()
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(2)
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    yield
    torch.set_num_threads(threads)
    optuna.logging.set_verbosity(verbosity)


@pytest.mark.parametrize("agent", ["gp", "ppo", "range-test"])
def test_the_process_stays_as_it_was(agent: str) -> None:
    before = state()
    hpopt.search(**ASKS, agent=agent, name="one")
    assert state() == before
    hpopt.resume("one", trials=3)
    assert state() == before
    with pytest.raises(hpopt.HpoptError):
        hpopt.search(**ASKS, agent=agent, name="one")
    assert state() == before


def test_studies_run_in_an_event_loop_and_in_threads_side_by_side() -> None:
    before, found = state(), {}

    async def cell() -> None:
        found["loop"] = hpopt.search(**ASKS, agent="random", name="loop").best_value

    def run(name: str) -> None:
        found[name] = hpopt.search(**ASKS, agent="random", name=name).best_value

    asyncio.run(cell())
    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found.values())) == 1
    assert state() == before
