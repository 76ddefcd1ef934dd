"""Batches that don't fit into memory: the same training in smaller parts, and what is learnt."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpopt_envs import FineTuneEnv, Outcome, make_env
from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.tasks.micro_batches import MOST_TOKENS, MicroBatches
from hpopt_envs.training.gradients import noise_and_signal
from hpopt_search_spaces import Value
from tests.envs.tiny import HERE, Bigrams, llama

ASKED: dict[str, Value] = {"learning_rate": 0.1, "batch_size": 32, "optimizer": "momentum"}
# What rounding in float32 makes of another order of summation.
ROUNDING = {"rtol": 1e-4, "atol": 1e-6}


class Limited(torch.nn.Module):
    """A model that has memory for so many tokens at once, and remembers what was tried."""

    limit = 10**9  # tokens; in training alone
    error: Callable[[str], Exception] = torch.OutOfMemoryError
    tried: list[int]  # examples

    def __init__(self) -> None:
        super().__init__()
        self.model: torch.nn.Module = llama()
        self.tried = []

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.tried.append(len(ids))
            if ids.numel() > self.limit:
                raise self.error("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore about it.")
        output = self.model(ids)
        logits: torch.Tensor = getattr(output, "logits", output)
        return logits


def limited() -> torch.nn.Module:
    return Limited()


def limited_bigrams() -> torch.nn.Module:
    """For 4 examples of 8 tokens."""
    model = Limited()
    model.model, model.limit = Bigrams(), 32
    return model


def make_limited_env(limit: int, **settings: Any) -> tuple[FineTuneEnv, Limited]:
    env = make_env(
        f"{HERE}:Words", model=f"{__name__}:limited", trial_tokens=1024, device="cpu", **settings
    )
    model: Any = env.run.weights.model  # type: ignore[attr-defined]
    model.limit = limit
    return env, model


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("fixed", [{}, {"lora_rank": 2, "lora_targets": ".*_proj"}])
def test_training_in_parts_is_the_training_that_would_not_fit(
    fixed: dict[str, Value], weight: float
) -> None:
    asked = {**ASKED, **fixed, "divergence_weight": weight}
    whole, _ = make_limited_env(10**9, fixed=fixed)
    cut, model = make_limited_env(100, fixed=fixed)
    model = getattr(model, "model", model) if fixed else model
    runs = []
    for env in (whole, cut):
        state = env.run.start(seed=0)
        runs.append((state, [env.run.advance(state, asked, segment) for segment in range(2)]))
    (expected, wholes), (got, cuts) = runs
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(got.tensors[name], tensor, **ROUNDING)
    for one, other in zip(wholes, cuts, strict=True):
        assert one.optimizer_steps == other.optimizer_steps == 2
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-5)
        assert other.penalty == (one.penalty and pytest.approx(one.penalty, rel=1e-4))
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
        assert other.cost == one.cost
        assert one.noise_scale is None


def test_what_fitted_is_remembered_for_the_next_steps_and_trials() -> None:
    env, model = make_limited_env(100)  # 12 examples of 8 tokens
    for seed in range(2):
        state = env.run.start(seed)
        for segment in range(2):
            env.run.advance(state, {**ASKED, "divergence_weight": 0.0}, segment)
    assert model.tried == [32, 16] + [8] * (2 * 2 * 2 * 4)  # seeds, segments, steps, parts


def test_a_single_example_that_does_not_fit_is_an_outcome_with_a_reason() -> None:
    env, _ = make_limited_env(7, view="absolute")
    env.reset(seed=0)
    action = absolute_action(env.space.encode({"batch_size": 32}))
    _, reward, terminated, truncated, info = env.step(action)
    trial = info["trial"]
    assert (terminated, truncated, reward) == (True, False, -1.0)
    assert trial.outcome is Outcome.OUT_OF_MEMORY
    assert trial.value is None
    assert trial.reason == (
        "a single example doesn't fit: CUDA out of memory. Tried to allocate 20.00 GiB."
    )
    assert info["segment"].metrics == {}


def test_other_errors_are_no_lack_of_memory() -> None:
    env, model = make_limited_env(7)
    model.error = broken
    with pytest.raises(RuntimeError, match="sizes must match"):
        env.run.advance(env.run.start(0), {**ASKED, "divergence_weight": 0.0}, 0)
    assert model.tried == [32]


def broken(message: str) -> Exception:
    return RuntimeError("sizes must match")


def test_a_batch_of_everything_is_not_tried_at_once() -> None:
    tried: list[int] = []
    MicroBatches().run(10**6, 64, tried.append)
    assert tried == [MOST_TOKENS // 64]


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 32)), max_size=8),
    st.integers(1, 600),
)
def test_what_cannot_fit_is_not_tried_twice_and_what_fits_is_found(
    batches: list[tuple[int, int]], capacity: int
) -> None:
    """Memory is taken to be examples × tokens."""
    memory, refused = MicroBatches(), set[tuple[int, int]]()
    for examples, tokens in batches:

        def work(size: int, examples: int = examples, tokens: int = tokens) -> int:
            assert size <= examples
            assert not any(size >= n and tokens >= length for n, length in refused if n > 1)
            if size * tokens > capacity:
                refused.add((size, tokens))
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return size

        if tokens > capacity:
            with pytest.raises(torch.OutOfMemoryError, match="a single example doesn't fit"):
                memory.run(examples, tokens, work)
        else:
            size = memory.run(examples, tokens, work)
            # Half of it is all that halving may leave unused, by lengths up to the batch's.
            least = min([examples, *(n // 2 for n, length in refused if length <= tokens)])
            assert size >= max(1, least)


def test_estimates_of_noise_and_signal_are_unbiased() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor([0.5, -0.3, 0.1], dtype=torch.float64)
    root = torch.tensor([[0.9, 0.0, 0.0], [0.5, 0.4, 0.0], [0.1, 0.2, 0.6]], dtype=torch.float64)
    draws = torch.randn(40_000, 16, 3, generator=generator, dtype=torch.float64)
    examples = mean + draws @ root.T
    small, big = (examples[:, :n].mean(1).square().sum(1) for n in (4, 16))
    estimates = noise_and_signal(small, big, 4, 16)
    expected = ((root @ root.T).trace(), mean.square().sum())
    for estimate, value in zip(estimates, expected, strict=True):
        error = float(estimate.std()) / len(estimate) ** 0.5
        assert error < 0.02 * value
        assert abs(float(estimate.mean() - value)) < 3 * error


def test_the_noise_scale_of_a_run_is_that_of_the_gradients_of_its_training_data() -> None:
    """With weights that stay where they are, against every example's own gradient."""
    settings: dict[str, Any] = {"model": f"{__name__}:limited_bigrams", "device": "cpu"}
    env = make_env(f"{HERE}:Words", segment_tokens=512 * 24, trial_tokens=512 * 24, **settings)
    run: Any = env.run
    asked = {**ASKED, "learning_rate": 1e-12, "divergence_weight": 0.0, "batch_size": 16}
    progress = run.advance(run.start(seed=0), asked, 0)
    model, train = run.weights.model, run._evaluator.data.train
    gradients = []
    for row in range(len(train["length"])):
        example = {name: tensor[row : row + 1] for name, tensor in train.items()}
        loss = run.task.loss_sum(model, example) / run.task.loss_count(example)
        found = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([g.flatten() for g in found]).double())
    stacked = torch.stack(gradients)
    noise = stacked.var(0).sum()
    signal = stacked.mean(0).square().sum() - noise / len(stacked)  # unbiased, as estimates are
    assert progress.noise_scale == pytest.approx(float(noise / signal) / 16, rel=0.05)


# A process in which torch's own allocator refuses: a trial with memory, and one with less.
SCRIPT = """
import json, resource, sys
from hpopt_envs import make_env

def limit(megabytes):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20, -1))

asked = json.loads(sys.argv[1])
model = "tests.envs.tiny:Wide"
runs = [make_env("tests.envs.tiny:Words", model=model, trial_tokens=512).run for _ in range(2)]
for run, megabytes in zip(runs, (2**20, 100)):
    limit(megabytes)
    state = run.start(seed=0)
    progress = run.advance(state, asked, 0)
    limit(2**20)
    print(json.dumps({
        "fitted": list(run._gradients._memory._fitting.values()),
        "outcome": progress.outcome and progress.outcome.value,
        "measured": [progress.train_loss, progress.penalty, progress.gradient_norm],
        "weights": state.tensors["table.weight"].flatten().tolist(),
    }))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_a_process_with_little_memory_trains_the_same() -> None:
    asked = {**ASKED, "divergence_weight": 0.5}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(asked)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    whole, cut = (json.loads(line) for line in done.stdout.splitlines())
    assert (whole["fitted"], whole["outcome"]) == ([], None)
    assert len(cut["fitted"]) == 1
    assert cut["outcome"] is None
    assert cut["measured"] == pytest.approx(whole["measured"], rel=1e-5, abs=1e-6)
    assert cut["weights"] == pytest.approx(whole["weights"], rel=1e-4, abs=1e-6)
