"""Real fine-tuning of the embedded model: the segment loop against steps taken by hand."""

import copy
from collections.abc import Mapping

import pytest
import torch

from hpopt_envs import FineTuneEnv, Outcome, make_env
from hpopt_envs.models import load_model
from hpopt_envs.randomness import key
from hpopt_envs.training.real import MAX_GRADIENT_NORM, RealRun, RunState

HYPERPARAMETERS = {"learning_rate": 1e-3, "batch_size": 32, "divergence_weight": 0.3}


@pytest.fixture(scope="module")
def env() -> FineTuneEnv:
    return make_env("lm", segment_tokens=4096, trial_tokens=8192, device="cpu")


@pytest.fixture
def run(env: FineTuneEnv) -> RealRun:
    assert isinstance(env.run, RealRun)
    return env.run


def weights(state: RunState) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in state.tensors.values()])


def test_a_segment_is_the_steps_that_one_would_take_by_hand(run: RealRun) -> None:
    state = run.start(seed=3)
    reference = load_model("embedded", seed=0)
    model = copy.deepcopy(reference).train()
    rows = {
        name: torch.randperm(
            len(split["input_ids"]), generator=torch.Generator().manual_seed(key(3, name, 0))
        )
        for name, split in (("train", run._train), ("retained_train", run._retained))
        if split is not None
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(2):
        part = slice(32 * step, 32 * step + 32)
        code = run._train["input_ids"][rows["train"][part]]
        assert run._retained is not None
        prose = run._retained["input_ids"][rows["retained_train"][part]]
        loss = model(input_ids=code, labels=code).loss
        target = reference(input_ids=prose).logits[:, :-1].log_softmax(-1)
        policy = model(input_ids=prose).logits[:, :-1].log_softmax(-1)
        penalty = torch.nn.functional.kl_div(policy, target, reduction="none", log_target=True)
        (loss + 0.3 * penalty.sum(-1).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
    asked = {**HYPERPARAMETERS, "optimizer": "sgd", "learning_rate": 0.1}
    assert run.advance(state, asked, segment=0).optimizer_steps == 2
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(state.tensors[name], parameter.data, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "adagrad", "sgd"])
def test_a_snapshot_continues_bit_for_bit(run: RealRun, optimizer: str) -> None:
    asked = {**HYPERPARAMETERS, "optimizer": optimizer, "dropout": 0.1}
    state = run.start(seed=1)
    run.advance(state, asked, segment=0)
    restored = run.restore(*run.snapshot(state))
    first, second = (run.advance(s, asked, segment=1) for s in (state, restored))
    assert torch.equal(weights(state), weights(restored))
    assert (first.train_loss, first.penalty) == (second.train_loss, second.penalty)


def test_trials_that_take_turns_do_not_disturb_each_other_or_the_global_generator(
    run: RealRun,
) -> None:
    def alone(seed: int) -> torch.Tensor:
        state = run.start(seed)
        for segment in range(2):
            run.advance(state, HYPERPARAMETERS, segment)
        return weights(state)

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one, two = run.start(1), run.start(2)
    for segment in range(2):
        for state in (one, two):
            run.advance(state, {**HYPERPARAMETERS, "dropout": 0.0}, segment)
            run.evaluate(state, "validation", whole=False)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights(one), alone(1))
    assert torch.equal(weights(two), alone(2))
    assert not torch.equal(weights(one), weights(two))


def test_the_base_model_has_forgotten_nothing_and_adapting_costs_prose(run: RealRun) -> None:
    state = run.start(seed=0)
    base = run.evaluate(state, "validation", whole=True)
    assert base.metrics["forgetting"] == base.metrics["divergence"] == 0.0
    free: Mapping[str, float] = {**HYPERPARAMETERS, "batch_size": 4, "divergence_weight": 0.0}
    for segment in range(2):
        run.advance(state, free, segment)
    adapted = run.evaluate(state, "validation", whole=True)
    assert adapted.metrics["loss"] < base.metrics["loss"] - 0.2
    assert adapted.metrics["forgetting"] > 0.02
    assert adapted.objective == pytest.approx(
        adapted.metrics["loss"] + 0.5 * adapted.metrics["forgetting"]
    )


def test_evaluation_is_the_mean_loss_of_the_fixed_sequences(run: RealRun) -> None:
    state = run.start(seed=0)
    got = run.evaluate(state, "test", whole=True)
    ids = run._evaluator.data.test["input_ids"][: run._evaluator._sizes[True]]
    with torch.no_grad():
        expected = run.model.eval()(input_ids=ids, labels=ids).loss.item()
    assert got.metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert got.cost == pytest.approx(2 * len(ids) * 64 / 3)


def test_a_hopeless_learning_rate_explodes_and_is_recorded(env: FineTuneEnv) -> None:
    env.reset(seed=0)
    asked = {"learning_rate": 1e6, "batch_size": 4, "optimizer": "sgd", "divergence_weight": 0.0}
    *_, info = env.train(asked)
    assert info["trial"].outcome is Outcome.EXPLODED
    assert info["trial"].value is None


@pytest.mark.gpu
def test_trials_on_a_gpu_repeat_and_continue_from_snapshots() -> None:
    run = make_env("lm", segment_tokens=4096, trial_tokens=8192, device="cuda").run
    states = [run.start(seed=1) for _ in range(2)]
    for state in states:
        run.advance(state, HYPERPARAMETERS, segment=0)
    restored = run.restore(*run.snapshot(states[0]))
    for state in (*states, restored):
        run.advance(state, HYPERPARAMETERS, segment=1)
    values = [
        run.evaluate(state, "validation", whole=True).objective for state in (*states, restored)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    assert values[0] == pytest.approx(values[2], abs=1e-3)
