"""`check_searcher` passes our own searchers, and catches each broken promise."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from hpopt.searchers import AGENTS, PRUNERS
from hpopt.testing import check_searcher
from tests.hpopt.testing import broken_loops, broken_proposers
from tests.hpopt.testing.failing import fails

SLOW = ("gp", "ppo", "a2c", "dqn-from-scratch")
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


@pytest.mark.parametrize(
    "kind",
    [
        broken_proposers.Fine,
        broken_proposers.Deterministic,
        broken_proposers.Unrounded,
        broken_proposers.RunsOut,
    ],
)
def test_a_class_may_be_handed_over_itself(kind: type[Any]) -> None:
    check_searcher(kind, trials=4)
    check_searcher(f"{kind.__module__}:{kind.__name__}", **SMALL)


def states() -> list[str]:
    _, keys, *_ = np.random.get_state(legacy=True)
    return [repr(random.getstate()), repr(list(keys)), repr(torch.get_rng_state().tolist())]


def test_global_generators_are_left_as_they_were() -> None:
    before = states()
    fails("torch's global generator", check_searcher, broken_proposers.SeedsTorch, **SMALL)
    assert states() == before


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (broken_proposers.SeedIgnored, "another seed must decide otherwise"),
        (broken_proposers.DrawsFromRandom, "random's global generator must be left as it was"),
        (broken_proposers.DrawsFromNumpy, "numpy's global generator must be left as it was"),
        (broken_proposers.SeedsTorch, "torch's global generator must be left as it was"),
        (broken_proposers.ProcessWide, "the same seed must come to the same trials again"),
        (broken_proposers.SeesTheClock, "the same seed must come to the same trials again"),
        (broken_proposers.WrongNumber, "ask(): its number must be 0, but got 1"),
        (
            broken_proposers.NoProposal,
            "ask(): must return a Proposal, or None, but got {'learning_rate'",
        ),
        (broken_proposers.Illegal, "learning_rate must be legal, but got 100.0"),
        (broken_proposers.Alien, "but got 'momentum'"),
        (broken_proposers.Partial, "must have a value of each active hyperparameter, and no other"),
        (
            broken_proposers.FromNumpy,
            "learning_rate must be a number, a string or a boolean of Python's",
        ),
        (broken_proposers.NoAnswer, "report(): must return True or False, but got None"),
        (
            broken_proposers.Raises,
            "must raise nothing, but got ValueError: no such trial (broken_proposers",
        ),
        (broken_loops.NeverAsks, "must ask pool.can_start() before each pool.start()"),
        (broken_loops.AsksOnce, "must ask pool.can_start() before each pool.start()"),
        (broken_loops.Stubborn, "and heed a refusal, but got a start on worker 0"),
        (broken_loops.Endless, "must return when the pool refuses another trial"),
        (broken_loops.LeavesATrial, "every trial must have ended when search() returns"),
        (broken_loops.AsksTwice, "must have one request at a time outstanding on a worker"),
        (broken_loops.StartsTwice, "must start trials on idle workers, and 0 isn't"),
        (broken_loops.NoTrial, "must go on with a worker that has a trial"),
        (broken_loops.WaitsForNothing, "must wait for a reply only where a request is outstanding"),
        (broken_loops.OtherWorker, "must use workers 0 to 0, but got 1"),
        (broken_loops.Spends, "must end at its horizon of 16384 tokens"),
        (broken_loops.Forges, "must leave pool.history to the pool"),
        (broken_loops.HoldsIllegal, "pool.hold(): batch_size must be legal, but got 3"),
        (broken_loops.KnowsItsPast, "it must come to the same trials"),
        (broken_loops.LooksAhead, "a resumed study must decide as its journal says"),
        (
            broken_proposers.Loop,
            "tell(): must be of a proposal that was asked for and isn't told yet",
        ),
        (broken_proposers.LoopUntold, "tell(): each proposal must be told once"),
        (broken_proposers.LoopAgain, "report(): segments must be reported in order, and 1 is next"),
    ],
)
def test_a_broken_promise_is_told_in_a_line(kind: type[Any], line: str) -> None:
    fails(line, check_searcher, kind, **SMALL)


def test_what_is_no_searcher_is_told_in_a_line() -> None:
    class Local(broken_proposers.Fine):
        pass

    fails("class Local: must stand at the top of its module", check_searcher, Local)
    fails("agent: there is no 'tpee' (nearest: tpe)", check_searcher, "tpee")
    fails("portfolio: must name studies of other tasks", check_searcher, "portfolio")
