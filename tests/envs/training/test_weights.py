"""What a trial trains of a model, and that nothing else of it ever changes."""

import gc
import math
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from hpopt_envs import make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.models import EMBEDDED
from hpopt_envs.training.real import RealRun
from hpopt_envs.training.states import RunState
from hpopt_envs.training.weights import Structure, Tensors, Weights
from hpopt_search_spaces import Value
from tests.envs.tiny import BLOCKS, HERE, VOCABULARY, bert, half_frozen, llama

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
    env = make_env(
        f"{HERE}:{task}", model=model, fixed=fixed, trial_tokens=2 * tokens, device="cpu"
    )
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


@pytest.mark.parametrize("targets", [r".*\.(q|v)_proj", r"model\.layers\.2\.mlp\..*_proj"])
def test_lora_targets_are_the_layers_whose_whole_names_match(targets: str) -> None:
    weights = Weights(seeded(llama), "CAUSAL_LM")
    found = names(weights, Structure.of({"lora_rank": 2, "lora_targets": targets}))
    layers = {name.partition(".lora_")[0].removeprefix("base_model.model.") for name in found}
    expected = {
        f"model.layers.{block}.self_attn.{which}_proj" for block in range(4) for which in "qv"
    }
    if "mlp" in targets:
        expected = {f"model.layers.2.mlp.{which}_proj" for which in ("gate", "up", "down")}
    assert layers == expected


@torch.no_grad()
def merged(tensors: Tensors, scale: float) -> Any:
    """The base model with W + scale · BA for its weights."""
    model = seeded(llama)
    for name, a in tensors.items():
        if "lora_A" in name:
            layer = model.get_submodule(
                name.partition(".lora_")[0].removeprefix("base_model.model.")
            )
            layer.weight += scale * tensors[name.replace("lora_A", "lora_B")] @ a
    return model


def test_the_output_of_adapters_is_scaled_by_alpha_over_rank() -> None:
    weights = Weights(seeded(llama), "CAUSAL_LM")
    tensors = randomized(weights.begin(Structure.of({"lora_rank": 4}), seed=0))
    for alpha, scale in ((None, 2.0), (6.0, 1.5), (1.0, 0.25), (None, 2.0)):
        asked = {"lora_rank": 4} | ({} if alpha is None else {"lora_alpha": alpha})
        weights.use(Structure.of(asked), tensors)
        torch.testing.assert_close(
            logits_of(weights.model), logits_of(merged(tensors, scale)), rtol=1e-4, atol=1e-5
        )


def test_scales_that_differ_share_an_adapter_so_that_a_study_does_not_fill_the_memory() -> None:
    weights = Weights(seeded(llama), "CAUSAL_LM")
    for alpha in range(1, 20):
        weights.begin(Structure.of({"lora_rank": 2, "lora_alpha": float(alpha)}), seed=alpha)
    assert len(weights.model.peft_config) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [3.0, 20.0])
def test_a_saved_adapter_loads_with_peft_and_is_the_trained_model(
    tmp_path: Path, alpha: float
) -> None:
    asked: dict[str, Value] = {"lora_rank": 2, "lora_alpha": alpha}
    run = make_run(model="embedded", **asked)
    other = trained(run, lora_rank=4)
    state = trained(run, **asked)
    run.evaluate(other, "validation", whole=False)
    run.save_weights(state, tmp_path)
    expected = logits_of(run.weights.model)
    base = AutoModelForCausalLM.from_pretrained(EMBEDDED["embedded"], dtype=torch.float32)
    difference = (logits_of(base) - expected).abs().max()
    assert difference > 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for what it deprecates
        loaded = peft.PeftModel.from_pretrained(base, tmp_path)
        found = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(logits_of(loaded), expected)
    torch.testing.assert_close(logits_of(found), expected)
    assert {file.name for file in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }


def test_a_saved_adapter_of_a_classifier_has_its_head(tmp_path: Path) -> None:
    run = make_run("Parity", lora_rank=2)
    run.save_weights(trained(run, lora_rank=2, divergence_weight=0.0), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for what it deprecates
        loaded = peft.PeftModel.from_pretrained(seeded(bert), tmp_path)
    torch.testing.assert_close(logits_of(loaded), logits_of(run.weights.model))
    head = seeded(bert).classifier.weight
    assert not torch.equal(loaded.base_model.model.classifier.modules_to_save.default.weight, head)


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
