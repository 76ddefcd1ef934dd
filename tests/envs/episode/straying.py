"""Trials that go well or astray, on a tiny model without dropout and simulated."""

from collections.abc import Mapping
from typing import Any

import torch

from hpopt_envs import FineTuneEnv, Segment, Trial, make_env
from hpopt_envs.randomness import key
from hpopt_envs.training.real import RealRun
from hpopt_search_spaces import Value
from tests.envs.tiny import HERE

STEP = 64  # tokens: 8 examples of 8
SEGMENT = 512
HORIZON = 8 * SEGMENT
VALUES: dict[str, Value] = {
    "learning_rate": 0.01,
    "batch_size": 8,
    "divergence_weight": 0.0,
    "schedule_shape": "linear",
    "warmup_fraction": 0.1,
}
FLAT = {**VALUES, "schedule_shape": "constant", "warmup_fraction": 0.0}
SMALL = {**FLAT, "learning_rate": 1e-5}
HUGE = {**FLAT, "learning_rate": 1e9, "optimizer": "sgd"}
STEEP = {**FLAT, "learning_rate": 0.05}  # explodes in the simulated task, but doesn't overflow


def words(task: str = "Words", **settings: Any) -> FineTuneEnv:
    return make_env(
        f"{HERE}:{task}",
        f"{HERE}:Bigrams",
        segment_tokens=SEGMENT,
        trial_tokens=HORIZON,
        device="cpu",
        **{"validate_segments": False, **settings},
    )


def real(env: FineTuneEnv) -> RealRun:
    assert isinstance(env.run, RealRun)
    return env.run


def owned(env: FineTuneEnv) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All that a trial has: weights, moments, cursors, tokens."""
    return env.run.snapshot(env.position.state)


def same(one: Any, other: Any) -> bool:
    (tensors, meta), (others, other_meta) = one, other
    equal = all(torch.equal(tensors[name], others[name]) for name in tensors)
    return tensors.keys() == others.keys() and equal and meta == other_meta


def told(trial: Trial) -> str:
    """Everything about a trial but how long it took; NaN is the same as NaN."""
    segments = [vars(segment) | {"wall_seconds": 0.0} for segment in trial.segments]
    return repr(vars(trial) | {"segments": segments})


def exploding(env: FineTuneEnv) -> Mapping[str, Value]:
    return STEEP if env.facts.task == "simulated" else HUGE


def train(env: FineTuneEnv, values: Mapping[str, Value], tokens: int, **how: Any) -> Segment:
    segment = env.train(values, tokens=tokens, **how)[-1]["segment"]
    assert isinstance(segment, Segment)
    return segment


def order(size: int, *what: Any) -> torch.Tensor:
    """Examples in the order that is drawn for something."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(key(*what)))
