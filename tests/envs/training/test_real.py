"""Real fine-tuning of the embedded model: the segment loop against steps taken by hand."""

import copy
import json
from collections.abc import Iterator, Mapping
from itertools import count, islice

import pytest
import torch

from hpopt_envs import Data, FineTuneEnv, Outcome, make_env
from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.models import load_model
from hpopt_envs.randomness import key
from hpopt_envs.training.optimizers import OPTIMIZERS
from hpopt_envs.training.real import MAX_GRADIENT_NORM, RealRun
from hpopt_envs.training.states import RunState
from hpopt_search_spaces import Value, load_space
from tests.envs.tiny import HERE, RaggedWords, Words

IMPORTED = ("torch.optim:NAdam", "schedulefree:RAdamScheduleFree")
HYPERPARAMETERS = {"learning_rate": 1e-3, "batch_size": 32, "divergence_weight": 0.3}


@pytest.fixture(scope="module")
def env() -> FineTuneEnv:
    return make_env("lm", segment_tokens=4096, trial_tokens=8192, device="cpu")


@pytest.fixture(scope="module")
def tiny() -> RealRun:
    """Segments are two steps."""
    run = make_env(f"{HERE}:Words", trial_tokens=1024, device="cpu").run
    assert isinstance(run, RealRun)
    return run


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
    data = run._evaluator.data
    assert data.retained_train is not None
    rows = {
        name: torch.randperm(
            len(split["input_ids"]), generator=torch.Generator().manual_seed(key(3, name, 0))
        )
        for name, split in (("task", data.train), ("penalty", data.retained_train))
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(2):
        part = slice(32 * step, 32 * step + 32)
        code = data.train["input_ids"][rows["task"][part]]
        prose = data.retained_train["input_ids"][rows["penalty"][part]]
        loss = model(input_ids=code, labels=code).loss
        target = reference(input_ids=prose).logits[:, :-1].log_softmax(-1)
        policy = model(input_ids=prose).logits[:, :-1].log_softmax(-1)
        penalty = torch.nn.functional.kl_div(policy, target, reduction="none", log_target=True)
        (loss + 0.3 * penalty.sum(-1).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
    asked = {**HYPERPARAMETERS, "optimizer": "momentum", "learning_rate": 0.1}
    assert run.advance(state, asked, segment=0).optimizer_steps == 2
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(state.tensors[name], parameter.data, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *IMPORTED])
def test_a_snapshot_continues_bit_for_bit(tiny: RealRun, optimizer: str) -> None:
    asked = {**HYPERPARAMETERS, "optimizer": optimizer, "dropout": 0.1}
    state = tiny.start(seed=1)
    tiny.advance(state, asked, segment=0)
    tensors, meta = tiny.snapshot(state)
    restored = tiny.restore(tensors, json.loads(json.dumps(meta)))
    first, second = (tiny.advance(s, asked, segment=1) for s in (state, restored))
    assert torch.equal(weights(state), weights(restored))
    assert first == second


def test_a_snapshot_of_before_optimizers_had_numbers_in_their_groups_goes_on(tiny: RealRun) -> None:
    state = tiny.start(seed=1)
    tiny.advance(state, HYPERPARAMETERS, segment=0)
    tensors, meta = tiny.snapshot(state)
    del meta["optimizer_groups"]
    restored = tiny.restore(tensors, meta)
    assert tiny.advance(state, HYPERPARAMETERS, 1) == tiny.advance(restored, HYPERPARAMETERS, 1)


def test_a_trial_without_a_dropout_of_its_own_has_the_models_whoever_came_before() -> None:
    run = make_env(f"{HERE}:Parity", trial_tokens=64, device="cpu").run  # the model's is 0.1

    def end(*rates: float | None) -> torch.Tensor:
        for rate in rates:
            state = run.start(seed=1)
            asked = HYPERPARAMETERS if rate is None else {**HYPERPARAMETERS, "dropout": rate}
            run.advance(state, asked, segment=0)
        return weights(state)

    own = end(None)
    assert torch.equal(own, end(0.5, None))
    assert torch.equal(own, end(0.1))
    assert not torch.equal(own, end(0.0))


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
        expected = run.weights.model.eval()(input_ids=ids, labels=ids).loss.item()
    assert got.metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert got.cost == pytest.approx(2 * len(ids) * 64 / 3)


def test_a_hopeless_learning_rate_explodes_and_is_recorded(env: FineTuneEnv) -> None:
    env.reset(seed=0)
    asked = {"learning_rate": 1e6, "batch_size": 4, "optimizer": "sgd", "divergence_weight": 0.0}
    *_, info = env.train(asked)
    assert info["trial"].outcome is Outcome.EXPLODED
    assert info["trial"].value is None


class Guessable(Words):
    """Words of which a guess is known to be no good."""

    chance_loss = 9.0


@pytest.mark.parametrize(("task", "chance"), [(f"{HERE}:Words", 0.0), (f"{__name__}:Guessable", 9)])
def test_a_loss_has_exploded_at_four_times_the_base_models_or_a_guesss(
    task: str, chance: float
) -> None:
    facts = make_env(task, trial_tokens=1024, device="cpu").facts
    assert 3.0 < facts.base_loss < 4.0
    assert facts.exploded_loss == 4 * max(facts.base_loss, chance)


class Skewed(RaggedWords):
    """Nearly all sentences have two words, so that the long ones are longer than a segment."""

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        data = super().load_data(model_source, sequence_length)
        data.train["length"][:] = 2
        data.train["length"][::16] = 8
        return data


@pytest.mark.parametrize(
    ("task", "batch_size", "segment_tokens"),
    [
        (f"{HERE}:RaggedWords", 8, 100),
        (f"{HERE}:RaggedWords", 32, 320),
        (f"{__name__}:Skewed", 1, 3),
    ],
)
def test_on_ragged_data_a_segment_ends_past_its_mark_and_the_next_makes_up_for_it(
    task: str, batch_size: int, segment_tokens: int
) -> None:
    plain = load_space("plain").to_dict()
    rate = {**plain, "parameters": [p for p in plain["parameters"] if p["name"] != "batch_size"]}
    env = make_env(
        task,
        f"{HERE}:Bigrams",
        rate,
        fixed={"batch_size": batch_size, "divergence_weight": 0.1},
        segment_tokens=segment_tokens,
        trial_tokens=10 * segment_tokens,
        view="absolute",
        validate_segments=False,
        device="cpu",
    )
    run = env.run
    assert isinstance(run, RealRun)
    data = run._evaluator.data
    assert data.retained_train is not None

    def drawn(purpose: str, lengths: torch.Tensor) -> Iterator[int]:
        """Tokens of one batch after the other."""
        orders = (
            torch.randperm(
                len(lengths), generator=torch.Generator().manual_seed(key(7, purpose, e))
            )
            for e in count()
        )
        tokens = (int(length) for order in orders for length in lengths[order])
        while True:
            yield sum(islice(tokens, batch_size))

    own = drawn("task", data.train["length"])
    retained = drawn("penalty", data.retained_train["length"])
    env.reset(seed=7)
    trained = ended = 0
    while not ended:
        *_, ended, _, info = env.step(absolute_action(env.space.default_unit))
        segment = info["segment"]
        steps = [next(own)]
        while trained + sum(steps) < (segment.id + 1) * segment_tokens:
            steps.append(next(own))
        trained += sum(steps)
        assert segment.tokens == sum(steps)
        assert segment.training_tokens == trained
        assert segment.optimizer_steps == len(steps)
        cost = sum(steps) + 4 / 3 * sum(islice(retained, len(steps)))
        measured = env.facts.final_validation_cost if ended else 0.0
        assert segment.cost == pytest.approx(cost + measured)
    assert info["trial"].outcome is Outcome.COMPLETED
    assert 10 * segment_tokens <= trained < 10 * segment_tokens + 8 * batch_size


@pytest.mark.parametrize("structure", [{}, {"lora_rank": 2}])
def test_activations_that_are_computed_again_change_nothing(structure: dict[str, Value]) -> None:
    ends, calls = [], []
    for again in (False, True):
        env = make_env(
            f"{HERE}:Words",
            fixed=structure,
            trial_tokens=1024,
            gradient_checkpointing=again,
            device="cpu",
        )
        assert isinstance(env.run, RealRun)
        modules = dict(env.run.weights.model.named_modules())
        block = next(m for name, m in modules.items() if name.endswith("layers.0.self_attn"))
        seen: list[None] = []
        block.register_forward_pre_hook(lambda *_, seen=seen: seen.append(None))
        state = env.run.start(seed=0)
        asked = {**HYPERPARAMETERS, **structure, "dropout": 0.1}
        assert env.run.advance(state, asked, segment=0).optimizer_steps == 2
        ends.append(weights(state))
        calls.append(len(seen))
    assert calls == [2 * 3, 2 * (3 + 2)]  # loss, penalty and its reference; backward twice
    torch.testing.assert_close(ends[0], ends[1])


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
