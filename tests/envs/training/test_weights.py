"""What a trial trains of a model, and that nothing else of it ever changes."""

import gc
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hpopt_envs.errors import WorldError
from hpopt_envs.training.weights import Structure, Weights
from hpopt_search_spaces import Value
from tests.envs.tiny import BLOCKS, HERE, bert, half_frozen, llama
from tests.envs.training.structures import (
    ASKED,
    IDS,
    each_structure,
    logits_of,
    make_run,
    names,
    same,
    seeded,
    trained,
)


@each_structure
def test_the_reference_is_the_untouched_base_model_whatever_was_trained(
    structure: dict[str, Value],
) -> None:
    run = make_run(**structure)
    weights, expected = run.weights, logits_of(seeded(llama))
    state = trained(run, **structure)
    after = logits_of(weights.model)
    assert not torch.equal(after, expected)
    weights.model.train()
    with weights.as_base():
        assert torch.equal(weights.model(IDS).logits, expected)
        assert not weights.model.training
    assert weights.model.training
    assert torch.equal(logits_of(weights.model), after)
    weights.use_base()
    assert torch.equal(logits_of(weights.model), expected)
    for kept, original in zip(weights.base_parameters, seeded(llama).parameters(), strict=True):
        assert torch.equal(kept, original)
    run.evaluate(state, "validation", whole=False)
    assert torch.equal(logits_of(weights.model), after)


def test_lora_never_moves_the_base_weights_not_even_while_it_trains() -> None:
    run = make_run(lora_rank=2)
    before = [(p.data_ptr(), p.detach().clone()) for p in run.weights.base_parameters]
    trained(run, lora_rank=2)
    for parameter, (place, values) in zip(run.weights.base_parameters, before, strict=True):
        assert parameter.data_ptr() == place
        assert torch.equal(parameter, values)
        assert parameter.grad is None


def test_a_new_adapter_does_nothing_and_its_draws_are_the_trials() -> None:
    weights, structure = Weights(seeded(llama), "CAUSAL_LM"), Structure.of({"lora_rank": 3})
    one, same_seed, other = (weights.begin(structure, seed) for seed in (1, 1, 2))
    weights.use(structure, one)
    assert torch.equal(logits_of(weights.model), logits_of(seeded(llama)))
    assert same(one, same_seed)
    for name, tensor in one.items():
        if "lora_A" in name:  # as `torch.nn.Linear` draws them: uniform up to 1/sqrt(inputs)
            assert not torch.equal(tensor, other[name])
            assert 0.5 < tensor.abs().max() * math.sqrt(tensor.shape[1]) <= 1


def held_bytes() -> int:
    """Of the memory behind every tensor of this process."""
    gc.collect()
    tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def size(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("structure", [{}, {"lora_rank": 4, "frozen_layers": 2}])
def test_a_trial_holds_what_it_trains_and_no_second_copy_of_the_model(
    structure: dict[str, Value],
) -> None:
    model = seeded(llama)
    whole, before = size([*model.parameters(), *model.buffers()]), held_bytes()
    weights = Weights(model, "CAUSAL_LM")
    of_trial = weights.begin(Structure.of(structure), seed=0)
    weights.use(Structure.of(structure), of_trial)
    with weights.as_base():
        inside = held_bytes()
    own = size(of_trial.values())
    # Adapters are in the base model, too: what begins there does nothing.
    adapters = size(p for n, p in weights.model.named_parameters() if "lora_" in n)
    assert inside - before == held_bytes() - before == own + adapters
    assert own == size(weights.parameters) + size(model.buffers())
    if "lora_rank" in structure:
        assert own < whole / 2
        assert not {id(p) for p in weights.base_parameters} & {id(p) for p in weights.parameters}


BELOW = {"llama": ("model.embed",), "bert": ("bert.embeddings",)}  # below the blocks
BLOCK = {"llama": "model.layers.", "bert": "bert.encoder.layer."}


@pytest.mark.parametrize("frozen", range(BLOCKS + 1))
@pytest.mark.parametrize("kind", BELOW)
def test_frozen_layers_leave_the_blocks_above_them_and_the_head_to_train(
    kind: str, frozen: int
) -> None:
    model = seeded({"llama": llama, "bert": bert}[kind])
    lower = tuple(f"{BLOCK[kind]}{block}." for block in range(frozen))
    below = BELOW[kind] if frozen else ()
    expected = {n for n, _ in model.named_parameters() if not n.startswith((*below, *lower))}
    assert any("head" in name or "classifier" in name for name in expected)
    assert names(Weights(model), Structure(frozen_layers=frozen)) == expected


def test_lora_on_partly_frozen_models_has_adapters_above_the_frozen_blocks() -> None:
    weights = Weights(seeded(llama), "CAUSAL_LM")
    found = names(weights, Structure.of({"lora_rank": 2, "frozen_layers": 3}))
    assert found == {n for n in names(weights, Structure.of({"lora_rank": 2})) if ".layers.3." in n}
    assert len(found) == 2 * 7  # A and B of a block's linear layers


@pytest.mark.parametrize(
    ("build", "structure", "message"),
    [
        (llama, {"frozen_layers": 5}, "frozen_layers: must be at most 4"),
        (llama, {"frozen_layers": 5, "lora_rank": 2}, "frozen_layers: must be at most 4"),
        (lambda: torch.nn.Linear(2, 2), {"frozen_layers": 1}, "frozen_layers: must be at most 0"),
        (llama, {"frozen_layers": 4, "lora_rank": 2}, "must leave weights to train"),
        (llama, {"lora_rank": 2, "lora_targets": "query"}, "lora_targets: .*'query' failed"),
        (llama, {"lora_rank": 2, "lora_targets": "("}, "lora_targets: .*failed"),
        (llama, {"lora_rank": 2, "lora_targets": ".*norm"}, "lora_targets: .*failed"),
    ],
)
def test_what_a_model_does_not_have_is_refused_in_one_line(
    build: Any, structure: dict[str, Value], message: str
) -> None:
    with pytest.raises(WorldError, match=message) as raised:
        Weights(seeded(build), "CAUSAL_LM").begin(Structure.of(structure), seed=0)
    assert "\n" not in str(raised.value)


def test_a_model_that_comes_partly_frozen_stays_so() -> None:
    frozen = ("model.embed", "model.layers.0.", "lm_head")
    expected = {n for n, _ in llama().named_parameters() if not n.startswith(frozen)}
    weights = Weights(seeded(half_frozen))
    assert names(weights, Structure()) == expected
    above = {n for n in expected if not n.startswith("model.layers.1.")}
    assert names(weights, Structure(frozen_layers=2)) == above
    assert names(weights, Structure()) == expected
    facts = make_run(model=f"{HERE}:half_frozen").facts
    assert facts.trainable_parameters == sum(
        p.numel() for n, p in llama().named_parameters() if n in expected
    )


@pytest.mark.parametrize(
    "structures",
    [
        [{}, {"frozen_layers": 1}, {"frozen_layers": 4}],
        [
            {"lora_rank": 4},
            {"lora_rank": 2},
            {"lora_rank": 2, "lora_alpha": 16.0},
            {"lora_rank": 4, "frozen_layers": 3},
            {"lora_rank": 4, "lora_targets": ".*_proj"},
        ],
    ],
    ids=["full", "LoRA"],
)
def test_trials_of_several_structures_that_take_turns_equal_trials_alone(
    structures: list[dict[str, Value]],
) -> None:
    run = make_run(**structures[0])
    states = [run.start(seed=1) for _ in structures]
    for segment in range(2):
        for state, structure in zip(states, structures, strict=True):
            run.advance(state, {**ASKED, **structure}, segment)
            run.evaluate(run.start(0), "validation", whole=False)
            for impossible in ({"frozen_layers": BLOCKS + 1}, {"lora_targets": ".*(proj|norm)"}):
                if "lora_rank" in structure or "frozen_layers" in impossible:
                    with pytest.raises(WorldError):
                        run.advance(run.start(0), {**ASKED, **structure, **impossible}, 0)
    for state, structure in zip(states, structures, strict=True):
        alone = trained(make_run(**structure), segments=2, **structure)
        assert same(state.tensors, alone.tensors)


def test_a_saved_model_of_full_training_loads_with_transformers(tmp_path: Path) -> None:
    run = make_run("Parity")
    run.save_weights(trained(run, divergence_weight=0.0), tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(logits_of(loaded), logits_of(run.weights.model))


@each_structure
@pytest.mark.parametrize("task", ["Words", "Parity"])
def test_a_snapshot_continues_bit_for_bit_here_and_in_another_run(
    task: str, structure: dict[str, Value]
) -> None:
    run = make_run(task, **structure)
    state = trained(run, **structure)
    elsewhere = make_run(task, **structure)
    if "lora_rank" in structure:  # a process that has seen other adapters before
        trained(elsewhere, lora_rank=8)
    snapshot = run.snapshot(state)
    continued = [run.restore(*snapshot), elsewhere.restore(*snapshot)]
    expected = run.advance(state, {**ASKED, **structure}, segment=1)
    for owner, copy in zip((run, elsewhere), continued, strict=True):
        progress = owner.advance(copy, {**ASKED, **structure}, segment=1)
        assert progress == expected
        assert same(copy.tensors, state.tensors)
        assert owner.evaluate(copy, "test", whole=True).metrics == (
            run.evaluate(state, "test", whole=True).metrics
        )
