"""The rules behind "auto", and ranges in octaves around it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt_search_spaces import (
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    SpaceError,
    TrainingFacts,
    load_space,
)

# A model of 0.56 M parameters on 40,000 tokens in sequences of 64.
NANO = TrainingFacts(560_000, 560_000, 40_000, 64, lora=False)


def learning_rate(facts: TrainingFacts) -> object:
    return load_space("default").resolve(facts).defaults()["learning_rate"]


def rule(parameters: float) -> float:
    """The documented power law, by logarithms."""
    return math.exp(math.log(0.42) - 0.45 * math.log(parameters))


@given(st.integers(10**5, 10**12), st.integers(10**3, 10**12))
def test_the_learning_rate_follows_the_power_law(parameters: int, tokens: int):
    rate = learning_rate(TrainingFacts(parameters, parameters, tokens, 64, lora=False))
    assert rate == pytest.approx(rule(parameters), rel=0.05)  # two digits
    assert rate == float(f"{rate:.1e}")


@pytest.mark.parametrize(
    ("facts", "best_of_a_grid", "octaves"),
    [
        (NANO, 8.8e-4, 1),  # the embedded model
        (replace(NANO, optimizer="momentum"), 8.8e-2, 1),
        (replace(NANO, lora=True), 4.4e-3, 1),
        (replace(NANO, lora=True, optimizer="momentum"), 0.11, 2),
        (TrainingFacts(1_525_056, 1_525_056, 32_768, 64, lora=False), 3.4e-3, 3),  # untrained
        (TrainingFacts(22_000_000, 22_000_000, 60_000, 64, lora=False), 3.2e-4, 1),  # MiniLM
        (TrainingFacts(135_000_000, 460_000, 11_520, 96, lora=True), 1e-2, 5),  # SmolLM2, LoRA
    ],
)
def test_measured_optima_are_in_the_range(
    facts: TrainingFacts, best_of_a_grid: float, octaves: float
):
    rate = load_space("default").resolve(facts)["learning_rate"]
    assert rate.contains(best_of_a_grid)
    assert isinstance(rate.default, float)
    assert abs(math.log2(rate.default / best_of_a_grid)) < octaves


def test_what_else_the_learning_rate_depends_on():
    plain = rule(560_000)
    assert learning_rate(NANO) == pytest.approx(plain, rel=0.05)
    assert learning_rate(replace(NANO, lora=True)) == pytest.approx(5 * plain, rel=0.05)
    adapter = replace(NANO, lora=True, trainable_parameters=10_000)
    assert learning_rate(adapter) == pytest.approx(5 * plain, rel=0.05)
    head = replace(NANO, trainable_parameters=100_000)
    assert learning_rate(head) == pytest.approx(rule(100_000), rel=0.05)
    for optimizer, factor in (("adagrad", 6), ("momentum", 50), ("sgd", 500), ("own:Lion", 1)):
        rate = learning_rate(replace(NANO, optimizer=optimizer))
        assert rate == pytest.approx(factor * plain, rel=0.05)


def test_the_optimizer_of_the_space_counts():
    full = load_space("full")
    adamw = full.resolve(replace(NANO, optimizer="sgd")).defaults()["learning_rate"]
    other = full.with_defaults({"optimizer": "momentum"}).resolve(NANO).defaults()
    assert adamw == learning_rate(NANO)
    assert other["learning_rate"] == pytest.approx(50 * rule(560_000), rel=0.05)


@pytest.mark.parametrize(("optimizer", "rate"), [("prodigy", 1.0), ("schedule-free", 0.0025)])
def test_documented_rates_are_for_every_model_however_the_optimizer_is_said(
    optimizer: str, rate: float
):
    other = replace(NANO, lora=True, task_factor=3.0, total_parameters=7 * 10**9)
    for facts in (NANO, other):
        assert learning_rate(replace(facts, optimizer=optimizer)) == rate
        space = load_space(optimizer).resolve(facts)
        assert space.defaults()["learning_rate"] == rate
        held = load_space(optimizer).holding({"optimizer": "adamw"}).resolve(facts)
        assert held.defaults()["learning_rate"] == learning_rate(facts)
    batch = load_space("default")["batch_size"]
    narrow = FloatParameter("learning_rate", 1e-5, 1e-4, "auto", log=True)
    space = SearchSpace("s", (narrow, batch), {"optimizer": optimizer})
    assert space.clipped(NANO) == {"learning_rate": rate}


@given(st.integers(10**3, 10**12), st.integers(1, 10**4))
def test_the_batch_size_is_the_nearest_power_of_two(tokens: int, sequence_length: int):
    facts = TrainingFacts(10**6, 10**6, tokens, sequence_length, lora=False)
    batch_size = load_space("default").resolve(facts).defaults()["batch_size"]
    target = 0.58 * tokens**0.571 / sequence_length
    powers = [4, 8, 16, 32, 64]  # the range clips what lies outside
    assert batch_size == min(powers, key=lambda power: abs(math.log2(power / target)))


@pytest.mark.parametrize(
    ("forgetting_weight", "expected"),
    [(0.0, 0.3), (0.1, 0.45), (0.5, 1.05), (1.0, 1.8), (7.0, 10.0)],  # the last one is clipped
)
def test_the_divergence_weight_grows_with_what_forgetting_costs(
    forgetting_weight: float, expected: float
):
    facts = replace(NANO, forgetting_weight=forgetting_weight)
    for name in ("default", "divergences", "full", "lora", "scheduled"):
        assert load_space(name).resolve(facts).defaults()["divergence_weight"] == expected
    scheduled = load_space("scheduled").resolve(facts).defaults()
    assert scheduled["final_divergence_weight"] == expected
    told = load_space("default").clipped(facts)
    assert told == ({"divergence_weight": pytest.approx(10.8)} if forgetting_weight == 7 else {})


def test_where_the_divergence_weight_is_the_loss_s_own_it_is_fixed():
    for forgetting_weight in (0.0, 1.0):
        facts = replace(NANO, forgetting_weight=forgetting_weight)
        for name in ("align", "dpo"):
            assert load_space(name).resolve(facts).defaults()["divergence_weight"] == 0.1


def test_octaves_reach_around_the_default():
    low, high = load_space("default").resolve(NANO)["learning_rate"].native_range
    assert low == pytest.approx(0.0011 / 64)
    assert high == pytest.approx(0.0011 * 32)
    batch = IntegerParameter("batch_size", 0, 0, "auto", powers_of_two=True, octaves=(-3, 2))
    space = SearchSpace("s", (batch,)).resolve(replace(NANO, training_tokens=65_536))
    assert space["batch_size"] == IntegerParameter("batch_size", 1, 16, 4, powers_of_two=True)
    rank = IntegerParameter("rank", 0, 0, 3, log=True, octaves=(-1, 1))
    resolved = SearchSpace("s", (rank,)).resolve(NANO)
    assert resolved["rank"] == IntegerParameter("rank", 2, 6, 3, log=True)


def test_octaves_go_around_a_default_that_is_given():
    space = load_space("default").with_defaults({"learning_rate": 2e-5}).resolve(NANO)
    assert space.defaults()["learning_rate"] == 2e-5
    assert space["learning_rate"].native_range == pytest.approx((2e-5 / 64, 2e-5 * 32))


def test_a_fixed_range_clips_the_rule():
    rate = FloatParameter("learning_rate", 1e-6, 1e-4, "auto", log=True)
    assert SearchSpace("s", (rate,)).resolve(NANO).defaults() == {"learning_rate": 1e-4}


def test_a_resolved_space_stays_as_it_is():
    space = load_space("full").resolve(NANO)
    assert space.is_resolved
    assert space.resolve(replace(NANO, training_tokens=10**9)) == space


def test_an_unresolved_space_refuses_values():
    space = load_space("default")
    assert not space.is_resolved
    calls = (
        lambda: space.decode([0.5] * 3),
        lambda: space.encode({}),
        lambda: space.encode({"learning_rate": 1e-3}),
        lambda: space.snap({}),
        space.defaults,
        lambda: space.unit_steps,
    )
    for call in calls:
        with pytest.raises(SpaceError, match="must be resolved first"):
            call()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (replace(NANO, optimizer="adamv"), "no rule for 'adamv' (nearest: adam,"),
        (replace(NANO, training_tokens=0), "needs training_tokens above 0, but got"),
        (replace(NANO, trainable_parameters=-1), "needs trainable_parameters above 0"),
        (replace(NANO, forgetting_weight=-0.5), "needs forgetting_weight of at least 0, but got"),
    ],
)
def test_impossible_facts_are_refused(facts: TrainingFacts, message: str):
    with pytest.raises(SpaceError) as caught:
        load_space("default").resolve(facts)
    assert message in str(caught.value)
