"""A held configuration is trained as it was asked for, and journals from before say the same."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpopt.pool.local import LocalPool
from hpopt.pool.metered import MeteredPool
from hpopt.record.journal import read_events
from hpopt.record.lines import Event, encode_line
from hpopt.searchers.default import ListProposer
from hpopt.searchers.driver import drive
from hpopt.searchers.promotion import promote
from hpopt_envs.episode.actions import absolute_action
from hpopt_search_spaces import FloatParameter, SearchSpace, Value, available_spaces
from tests.hpopt.searching import killed, outcome, resume, search, told

# Those of alignment go with tasks that have a β of their own; what holds them is the same.
SPACES = [name for name, _ in available_spaces() if name not in ("align", "gdc")]


def corners(space: SearchSpace) -> dict[str, Value]:
    """The default with each number at the low end of its range, beside the notch of 0."""
    low = {p.name: p.low for p in space.parameters if isinstance(p, FloatParameter)}
    return space.snap({**space.defaults(), **low})


@pytest.fixture(scope="module")
def resolved() -> dict[str, SearchSpace]:
    """Every shipped space, as the simulated task resolves it."""
    found = {}
    for name in SPACES:
        pool = LocalPool("hpopt_envs.factory:make_env", {"task": "simulated", "space": name})
        found[name] = pool.space
        pool.close()
    return found


@pytest.mark.parametrize("loop", [drive, promote])
@pytest.mark.parametrize("name", SPACES)
def test_a_configuration_at_the_ends_of_its_ranges_is_trained_as_it_is(
    name: str,
    loop: Callable[[Any, MeteredPool], None],
    resolved: Mapping[str, SearchSpace],
    make_pool: Callable[..., MeteredPool],
) -> None:
    asked = corners(resolved[name])
    pool = make_pool("random", "promotion", trials=1, space=name)
    loop(ListProposer([asked]), pool)
    (trial,) = pool.trials
    for segment in trial.segments:
        assert {n: segment.hyperparameters[n] for n in asked} == asked
        beside = {"schedule_shape", "warmup_fraction", *pool.facts.fixed} - set(asked)
        assert set(segment.hyperparameters) == set(asked) | beside


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_what_is_trained_is_what_was_asked(
    data: st.DataObject,
    resolved: Mapping[str, SearchSpace],
    make_pool: Callable[..., MeteredPool],
) -> None:
    name = data.draw(st.sampled_from(SPACES))
    space = resolved[name]
    point = data.draw(st.tuples(*[st.floats(0, 1)] * space.dimension))
    asked = space.decode(point)
    pool = make_pool("random", trials=1, space=name, trial_tokens=4096)
    drive(ListProposer([asked]), pool)
    hyperparameters = pool.trials[0].segments[0].hyperparameters
    assert {n: hyperparameters[n] for n in asked} == asked


def as_before(event: Event, space: SearchSpace) -> Event:
    """A decision as hpopt 0.2 journaled it: a held configuration as an action."""
    request = event.get("request", {})
    if request.get("hyperparameters") is None or event["trial"] >= 10**6:
        return event
    values = {n: v for n, v in request["hyperparameters"].items() if n in space}
    action = list(absolute_action(space.encode(values)))
    return {**event, "request": {**request, "hyperparameters": None, "action": action}}


@pytest.mark.parametrize("pruner", ["none", "median", "promotion"])
def test_a_study_whose_journal_is_older_goes_on_as_it_would_have(
    pruner: str, tmp_path: Path
) -> None:
    whole = search(tmp_path / "whole", pruner=pruner)
    journal = killed(tmp_path, 21, pruner=pruner)
    rewritten = [as_before(event, whole.space) for event in read_events(journal)]
    assert sum("hyperparameters" in e.get("request", {}) for e in rewritten)
    journal.write_bytes(b"".join(map(encode_line, rewritten)))
    resumed = resume(tmp_path)
    assert outcome(resumed) == outcome(whole)
    assert [told(t) for t in resumed.trials] == [told(t) for t in whole.trials]
