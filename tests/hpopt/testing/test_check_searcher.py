"""`check_searcher` passes our own searchers, and catches each broken promise."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from hpopt.searchers import AGENTS, PRUNERS
from hpopt.testing import check_searcher
from tests.hpopt.testing import broken_searchers as broken
from tests.hpopt.testing.failing import fails

SLOW = ("gp", "ppo", "a2c", "dqn")
OURS = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name, spec in AGENTS.items()
    if not spec.needs_studies
]
SMALL: dict[str, Any] = {"trials": 4, "workers": (1,)}


@pytest.mark.parametrize("agent", OURS)
def test_our_own_searchers_keep_their_promises(agent: str) -> None:
    check_searcher(agent)


@pytest.mark.parametrize("pruner", [pruner for pruner in PRUNERS if pruner != "none"])
def test_our_own_pruners_keep_theirs(pruner: str) -> None:
    check_searcher(f"tpe-cold+{pruner}")


@pytest.mark.parametrize("kind", [broken.Fine, broken.Deterministic, broken.RunsOut])
def test_a_class_may_be_handed_over_itself(kind: type[Any]) -> None:
    check_searcher(kind, trials=4)
    check_searcher(f"{kind.__module__}:{kind.__name__}", **SMALL)


def test_global_generators_are_left_as_they_were() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    fails("torch's global generator", check_searcher, broken.SeedsTorch, **SMALL)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (broken.SeedIgnored, "another seed must decide otherwise"),
        (broken.DrawsFromRandom, "random's global generator must be left as it was"),
        (broken.DrawsFromNumpy, "numpy's global generator must be left as it was"),
        (broken.SeedsTorch, "torch's global generator must be left as it was"),
        (broken.ProcessWide, "the same seed must come to the same trials again"),
        (broken.SeesTheClock, "the same seed must come to the same trials again"),
        (broken.WrongNumber, "ask(): its number must be 0, but got 1"),
        (broken.NoProposal, "ask(): must return a Proposal, or None, but got {'learning_rate'"),
        (broken.Illegal, "learning_rate must be legal, but got 100.0"),
        (broken.Alien, "but got 'momentum'"),
        (broken.Partial, "must have a value of each active hyperparameter, and no other"),
        (broken.FromNumpy, "learning_rate must be a number, a string or a boolean of Python's"),
        (broken.NoAnswer, "report(): must return True or False, but got None"),
        (broken.Raises, "must raise nothing, but got ValueError: no such trial (broken_searchers"),
        (broken.NeverAsks, "must ask pool.can_start() before each pool.start()"),
        (broken.AsksOnce, "must ask pool.can_start() before each pool.start()"),
        (broken.Stubborn, "and heed a refusal, but got a start on worker 0"),
        (broken.Endless, "must return when the pool refuses another trial"),
        (broken.LeavesATrial, "every trial must have ended when search() returns"),
        (broken.AsksTwice, "must have one request at a time outstanding on a worker"),
        (broken.StartsTwice, "must start trials on idle workers, and 0 isn't"),
        (broken.NoTrial, "must go on with a worker that has a trial"),
        (broken.WaitsForNothing, "must wait for a reply only where a request is outstanding"),
        (broken.OtherWorker, "must use workers 0 to 0, but got 1"),
        (broken.Spends, "must end at its horizon of 16384 tokens"),
        (broken.Forges, "must leave pool.history to the pool"),
        (broken.HoldsIllegal, "pool.hold(): batch_size must be legal, but got 3"),
        (broken.KnowsItsPast, "it must come to the same trials"),
        (broken.LooksAhead, "a resumed study must decide as its journal says"),
        (broken.Loop, "tell(): must be of a proposal that was asked for and isn't told yet"),
        (broken.LoopUntold, "tell(): each proposal must be told once"),
        (broken.LoopAgain, "report(): segments must be reported in order, and 1 is next"),
    ],
)
def test_a_broken_promise_is_told_in_a_line(kind: type[Any], line: str) -> None:
    fails(line, check_searcher, kind, **SMALL)


def test_what_is_no_searcher_is_told_in_a_line() -> None:
    class Local(broken.Fine):
        pass

    fails("class Local: must stand at the top of its module", check_searcher, Local)
    fails("agent: there is no 'tpee' (nearest: tpe)", check_searcher, "tpee")
    fails("portfolio: must name studies of other tasks", check_searcher, "portfolio")
