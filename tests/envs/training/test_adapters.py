"""Adapters: which layers have them, their scale, and that they load with peft."""

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from hpopt_envs.models import EMBEDDED
from hpopt_envs.training.weights import Structure, Tensors, Weights
from hpopt_search_spaces import Value
from tests.envs.tiny import bert, llama
from tests.envs.training.structures import logits_of, make_run, names, randomized, seeded, trained


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
