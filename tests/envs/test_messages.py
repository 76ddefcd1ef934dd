"""Requests and replies survive JSON; serving never raises."""

import json
import re
from typing import Any

import pytest

from hpopt_envs import Outcome, make_env
from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.messages import (
    Advance,
    Request,
    Save,
    Start,
    StudyFacts,
    reply_from_json,
    request_from_json,
    to_json,
)
from hpopt_envs.serving import build, serve

REQUESTS: list[Request] = [
    Start(3, 2**62, (0.1, 0.5, 1.0), {"schedule_shape": "linear"}, True, study=StudyFacts(0.5)),
    Start(3, 2**62, entrant="default", snapshot="a", digest="d"),
    Advance((0.1, -1.0), snapshot="b", study=StudyFacts(0.1, 0.2, 0.3)),
    Advance(hyperparameters={"learning_rate": 1e-3}, last=True),
    Save("a", "b", "c"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: type(r).__name__)
def test_requests_survive_json(request_: Request) -> None:
    assert request_from_json(json.loads(json.dumps(to_json(request_)))) == request_


def test_replies_survive_json_to_the_last_bit() -> None:
    env = make_env("simulated", view="absolute")
    serve(env, Start(0, 1))
    reply = serve(env, Advance(absolute_action(env.space.default_unit)))
    again = reply_from_json(json.loads(json.dumps(to_json(reply))))
    assert again == reply
    assert again.segment is not None
    assert reply.segment is not None
    assert again.segment.wall_seconds == reply.segment.wall_seconds


def test_what_raises_inside_a_trial_is_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env("simulated", view="absolute")
    serve(env, Start(0, 1))

    def broken(*_: Any) -> None:
        raise RuntimeError("no such kernel\nmore")

    monkeypatch.setattr(env.run, "advance", broken)
    reply = serve(env, Advance(absolute_action(env.space.default_unit)))
    assert reply.outcome is Outcome.FAILED
    assert re.fullmatch(
        r"RuntimeError: no such kernel \(test_messages.py, line \d+\)", reply.reason
    )


def test_environments_are_built_from_what_json_carries() -> None:
    env = build("hpopt_envs.factory:make_env", {"task": "simulated", "view": "discrete"})
    assert env.view == "discrete"
