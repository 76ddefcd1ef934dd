"""Runs on tiny models that train all, part, or adapters of them."""

from typing import Any

import pytest
import torch

from hpopt_envs import make_env
from hpopt_envs.training.real import RealRun
from hpopt_envs.training.states import RunState
from hpopt_envs.training.weights import Structure, Tensors, Weights
from hpopt_search_spaces import Value
from tests.envs.tiny import HERE, VOCABULARY

IDS = torch.arange(24).view(3, 8) % VOCABULARY
ASKED: dict[str, Value] = {"learning_rate": 0.01, "batch_size": 32, "divergence_weight": 0.1}
STRUCTURES = {
    "full": {},
    "partly frozen": {"frozen_layers": 2},
    "LoRA": {"lora_rank": 2},
    "LoRA, partly frozen": {"lora_rank": 4, "frozen_layers": 2},
}
each_structure = pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)


def make_run(task: str = "Words", model: str | None = None, **fixed: Value) -> RealRun:
    """A run whose segments are two steps of 32 examples."""
    tokens = 512 if task == "Words" else 64
    env = make_env(f"{HERE}:{task}", model, fixed=fixed, trial_tokens=2 * tokens, device="cpu")
    assert isinstance(env.run, RealRun)
    assert env.facts.segment_tokens == tokens
    return env.run


def trained(run: RealRun, segments: int = 1, **fixed: Value) -> RunState:
    state = run.start(seed=1)
    for segment in range(segments):
        run.advance(state, {**ASKED, **fixed}, segment)
    return state


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    found: torch.Tensor = model.eval()(ids).logits
    return found


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def seeded(build: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def randomized(tensors: Tensors) -> Tensors:
    generator = torch.Generator().manual_seed(1)
    return {
        n: t + 0.1 * torch.randn(t.shape, generator=generator) if "lora" in n else t
        for n, t in tensors.items()
    }


def names(weights: Weights, structure: Structure) -> set[str]:
    weights.use_base(structure)
    return {n for n, parameter in weights.model.named_parameters() if parameter.requires_grad}
