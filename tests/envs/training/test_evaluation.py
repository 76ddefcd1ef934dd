"""Evaluations against computations of their own, however they are cut and whatever is kept."""

import copy
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.tasks import Split
from hpopt_envs.training import evaluation
from hpopt_envs.training.real import RealRun
from hpopt_envs.training.states import RunState
from hpopt_search_spaces import Value
from tests.envs.tiny import HERE, VOCABULARY, llama

ASKED: dict[str, Value] = {"learning_rate": 0.02, "batch_size": 32}
TASKS = ["Words", "RaggedWords", "Parity"]
STRUCTURES: list[dict[str, Value]] = [{}, {"lora_rank": 2}]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are several: 2 examples of 16 tokens."""
    monkeypatch.setattr(evaluation, "BATCH_TOKENS", 32)


def make(task: str, model: str | None = None, **settings: Any) -> tuple[FineTuneEnv, RealRun]:
    tokens = 64 if task == "Parity" else 512
    env = make_env(
        f"{HERE}:{task}",
        model=model,
        segment_tokens=tokens,
        trial_tokens=4 * tokens,
        device="cpu",
        **settings,
    )
    assert isinstance(env.run, RealRun)
    return env, env.run


def trained(run: RealRun, structure: dict[str, Value] | None = None) -> RunState:
    state = run.start(seed=0)
    run.advance(state, {**ASKED, **(structure or {})}, segment=0)
    return state


def compared_rows(run: RealRun, split: str, whole: bool) -> Split:
    data = run._evaluator.data
    rows: Split = getattr(data, f"retained_{split}") or getattr(data, split)
    return {name: tensor[: run._evaluator._sizes[whole]] for name, tensor in rows.items()}


@torch.no_grad()
def by_hand(run: RealRun, base: Any, split: str, whole: bool) -> float:
    """Mean KL(base ‖ model) over what counts."""
    rows = compared_rows(run, split, whole)
    distributions = []
    for model in (base, run.weights.model):
        logits, mask = run.task.logits(model.eval(), rows)
        distributions.append(Categorical(logits=logits[mask].double()))
    return float(kl_divergence(*distributions).mean())


@pytest.mark.parametrize("kept_bytes", [2**30, 60 * VOCABULARY * 4, 0])
@pytest.mark.parametrize(
    ("task", "structure"), [("RaggedWords", {}), ("RaggedWords", {"lora_rank": 2}), ("Parity", {})]
)
def test_the_divergence_is_that_of_torchs_distributions(
    task: str, structure: dict[str, Value], kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "KEPT_BYTES", kept_bytes)
    _, run = make(task, fixed=structure)
    run.weights.use_base()
    base = copy.deepcopy(run.weights.model)
    sizes = run._evaluator._sizes
    assert 2 < sizes[False] < sizes[True]
    state = trained(run, structure)
    # The subset before the whole set that it is a part of, and after it.
    for split, whole in [("test", False), ("test", True), ("validation", False), ("test", False)]:
        got = run.evaluate(state, split, whole)
        expected = by_hand(run, base, split, whole)
        assert got.metrics["divergence"] == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert expected > 1e-4


@pytest.mark.parametrize("task", TASKS)
def test_a_reference_that_is_not_kept_costs_a_forward_pass_of_its_own(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, keeping = make(task)
    monkeypatch.setattr(evaluation, "KEPT_BYTES", 0)
    _, forgetful = make(task)
    for whole in (False, True):
        kept, again = (r.evaluate(trained(r), "validation", whole) for r in (keeping, forgetful))
        assert again.metrics == kept.metrics
        tokens = keeping.task.example_tokens(compared_rows(keeping, "validation", whole)).sum()
        assert kept.cost == keeping._evaluator.cost(whole)
        assert again.cost == pytest.approx(kept.cost + float(tokens) / 3)


def test_forgetting_is_the_rise_of_the_loss_on_retained_data() -> None:
    _, run = make("Words", forgetting_weight=0.25)
    run.weights.use_base()
    base = copy.deepcopy(run.weights.model)
    got = run.evaluate(trained(run), "test", whole=True)
    rows = compared_rows(run, "test", whole=True)
    with torch.no_grad():
        losses = [
            float(run.task.loss_sum(model.eval(), rows)) / run.task.loss_count(rows)
            for model in (base, run.weights.model)
        ]
    assert got.metrics["forgetting"] == pytest.approx(losses[1] - losses[0], rel=1e-4)
    assert got.objective == pytest.approx(got.metrics["loss"] + 0.25 * got.metrics["forgetting"])


@pytest.mark.parametrize("structure", STRUCTURES, ids=["full", "LoRA"])
def test_in_bfloat16_the_reference_is_still_the_base_model(structure: dict[str, Value]) -> None:
    _, run = make("Words", fixed=structure, precision="bfloat16")
    run.weights.use_base()
    base = copy.deepcopy(run.weights.model)
    state = trained(run, structure)
    got = run.evaluate(state, "test", whole=True)
    with torch.autocast("cpu", torch.bfloat16):
        expected = by_hand(run, base, "test", whole=True)
    assert got.metrics["divergence"] == pytest.approx(expected, rel=1e-2)
    assert expected > 1e-3
    exact = make("Words", fixed=structure)[1]
    same = exact.evaluate(trained(exact, structure), "test", whole=True)
    assert got.metrics["divergence"] == pytest.approx(same.metrics["divergence"], rel=0.1)


class Narrow(torch.nn.Module):
    """A model that has memory for 48 tokens at once."""

    def __init__(self) -> None:
        super().__init__()
        self.model = llama()
        self.limit = 10**9

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.numel() > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        logits: torch.Tensor = self.model(ids).logits
        return logits


@pytest.mark.parametrize("kept_bytes", [2**30, 0])
def test_an_evaluation_in_parts_is_the_one_that_would_not_fit(
    kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "KEPT_BYTES", kept_bytes)
    runs = [make("RaggedWords", f"{__name__}:Narrow")[1] for _ in range(2)]
    states = [trained(run) for run in runs]
    model: Any = runs[1].weights.model
    model.limit = 48
    for whole in (False, True):
        one, other = (r.evaluate(s, "test", whole) for r, s in zip(runs, states, strict=True))
        assert other.metrics == pytest.approx(one.metrics, rel=1e-4, abs=1e-6)
        assert other.cost == one.cost
