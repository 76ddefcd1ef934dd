import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)

from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer, model_hash
from hpopt_envs.tasks import Data, Split
from hpopt_envs.tasks.lm import LanguageModeling
from hpopt_envs.tasks.lm_data import cut, tokenize
from hpopt_envs.tasks.retained import sample_text

TASK = LanguageModeling()
SPLITS = ("train", "validation", "test")


def small_model(vocabulary: int) -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=vocabulary, n_positions=48, n_embd=16, n_layer=1, n_head=2)
    config.bos_token_id = config.eos_token_id = 0
    return GPT2LMHeadModel(config)


@pytest.fixture(scope="module")
def data() -> Data:
    return TASK.load_data("embedded", 64)


@pytest.fixture(scope="module")
def model() -> Any:
    return TASK.load_model("embedded", seed=0).eval()


@pytest.fixture
def batch(data: Data) -> Split:
    return {"input_ids": data.validation["input_ids"][:5]}


def test_there_is_enough_to_train_on_and_to_judge_by(data: Data) -> None:
    assert data.train["input_ids"].numel() >= 400_000
    for split in SPLITS:
        for name in (split, f"retained_{split}"):
            ids = getattr(data, name)["input_ids"]
            assert ids.shape[1] == 64
            assert len(ids) >= 256
            assert set(ids.unique().tolist()) <= set(range(1024))


def test_loss_is_the_one_that_transformers_computes(model: Any, batch: Split) -> None:
    ids = batch["input_ids"]
    theirs = model(ids, labels=ids).loss
    assert TASK.loss_count(batch) == 5 * 63
    torch.testing.assert_close(TASK.loss_sum(model, batch) / TASK.loss_count(batch), theirs)


def test_gradients_of_the_loss_are_those_of_transformers(model: Any, batch: Split) -> None:
    ids, weight = batch["input_ids"], model.model.embed_tokens.weight
    (theirs,) = torch.autograd.grad(model(ids, labels=ids).loss, weight)
    (ours,) = torch.autograd.grad(TASK.loss_sum(model, batch) / TASK.loss_count(batch), weight)
    torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_predictions_add_up_to_the_loss_and_to_the_metrics(model: Any, batch: Split) -> None:
    outputs = TASK.predict(model, batch)
    assert outputs["loss_sum"].shape == outputs["count"].shape == (5,)
    total = TASK.loss_sum(model, batch)
    torch.testing.assert_close(outputs["loss_sum"].sum(), total)
    by_one = [TASK.predict(model, {"input_ids": row[None]}) for row in batch["input_ids"]]
    joined = {name: torch.cat([output[name] for output in by_one]) for name in outputs}
    metrics = TASK.metrics(joined)
    assert metrics["loss"] == pytest.approx(float(total) / (5 * 63), rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))


@torch.no_grad()
def test_perplexity_and_bits_are_those_of_the_loss_that_transformers_computes(
    model: Any, data: Data
) -> None:
    batch = {name: tensor[:20] for name, tensor in data.validation.items()}
    ids = batch["input_ids"]
    loss = float(model(ids, labels=ids).loss)
    metrics = TASK.metrics(TASK.predict(model, batch))
    assert metrics["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    # In this kind of tokenizer, a character of a token's name stands for a byte.
    tokens = load_tokenizer("embedded").convert_ids_to_tokens(ids[:, 1:][ids[:, 1:] != 0])
    bits = loss * 20 * 63 / math.log(2)
    assert metrics["bits_per_byte"] == pytest.approx(bits / sum(map(len, tokens)), rel=1e-4)


@torch.no_grad()
def test_compared_distributions_are_those_of_the_predicted_tokens(model: Any, batch: Split) -> None:
    logits, mask = TASK.logits(model, batch)
    assert (logits.shape, mask.shape, mask.dtype) == ((5, 64, 1024), (5, 64), torch.bool)
    assert int(mask.sum()) == TASK.loss_count(batch)
    assert not bool(mask[:, -1].any())  # it predicts nothing
    torch.testing.assert_close(logits[mask], model(batch["input_ids"]).logits[:, :-1].flatten(0, 1))


@torch.no_grad()
def test_a_plain_module_that_returns_logits_will_do(batch: Split) -> None:
    model = torch.nn.Embedding(1024, 1024)
    torch.nn.init.zeros_(model.weight)
    mean = TASK.loss_sum(model, batch) / TASK.loss_count(batch)
    assert float(mean) == pytest.approx(math.log(1024), rel=1e-5)


def test_tokens_are_the_documents_in_a_row() -> None:
    tokenizer = load_tokenizer("embedded")
    ids = tokenize(tokenizer, ["import os\n", "x = 1"])
    assert tokenizer.decode(ids) == "import os\n<|endoftext|>x = 1<|endoftext|>"


def test_sequences_are_cut_from_the_text_and_shuffled() -> None:
    rows = cut(torch.arange(1003), 10)["input_ids"]
    assert rows.shape == (100, 10)
    assert torch.equal(rows.sort(0).values.flatten(), torch.arange(1000))
    assert not torch.equal(rows.flatten(), torch.arange(1000))
    assert torch.equal(rows, cut(torch.arange(1003), 10)["input_ids"])


def test_the_hash_follows_the_data(data: Data) -> None:
    assert TASK.load_data("embedded", 64).hash == data.hash
    assert TASK.load_data("embedded", 32).hash != data.hash


@pytest.mark.parametrize("length", [-1, 0, 1, 257])
def test_a_length_that_the_model_does_not_take_is_refused(length: int) -> None:
    with pytest.raises(WorldError, match=f"from 2 to 256 .* but got {length}$"):
        TASK.load_data("embedded", length)


@pytest.mark.parametrize("built_by", ["from_pretrained", "a factory"])
def test_saved_weights_load_with_their_tokenizer(model: Any, built_by: str, tmp_path: Path) -> None:
    if built_by == "a factory":
        model = small_model(1024)
    TASK.save_model(model, tmp_path / "best")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "best")
    assert model_hash(again) == model_hash(model)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "best")) == 1024


def test_sampled_text_is_the_models_own_and_the_same_every_time(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As some models bring it, though they are trained and measured without.
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 5.0)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    splits, cost = sample_text(model, 40)
    assert torch.equal(torch.rand(3), expected)
    again, _ = sample_text(model, 40)
    assert {name: split["input_ids"].shape for name, split in splits.items()} == {
        "train": (128, 40),
        "validation": (32, 40),
        "test": (32, 40),
    }
    assert cost == 192 * 39 / 3
    for name, split in splits.items():
        assert torch.equal(split["input_ids"], again[name]["input_ids"])
    ids = torch.cat([split["input_ids"] for split in splits.values()])
    assert set(ids[:, 0].tolist()) == {0}
    assert len(set(map(tuple, ids.tolist()))) == len(ids)
    # Text from a model has the loss that is the entropy of its predictions.
    with torch.no_grad():
        log_p = model(ids).logits[:, :-1].log_softmax(-1)
    losses = -log_p.gather(2, ids[:, 1:, None]).squeeze(2)
    surprise = losses + (log_p.exp() * log_p).sum(-1)
    error = float(surprise.mean()) / (float(surprise.std()) / math.sqrt(surprise.numel()))
    assert abs(error) < 4


@pytest.mark.parametrize("mute", [torch.nn.Embedding(9, 9), GPT2LMHeadModel])
def test_a_model_that_cannot_write_needs_text_to_retain(mute: Any) -> None:
    if mute is GPT2LMHeadModel:
        mute = small_model(9)
        mute.config.bos_token_id = mute.config.eos_token_id = None
    split = {"input_ids": torch.zeros(3, 8, dtype=torch.long)}
    with pytest.raises(WorldError, match="^retain_file: must be given, since this model can't"):
        TASK.prepare(mute, Data(split, split, split))


def test_another_model_brings_its_own_tokenizer_and_limit(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("embedded")
    tokenizer.add_tokens(["isinstance("])
    tokenizer.save_pretrained(tmp_path)
    small_model(1025).save_pretrained(tmp_path)
    source = str(tmp_path)
    with pytest.raises(WorldError, match="from 2 to 48"):
        TASK.load_data(source, 64)
    data = TASK.load_data(source, 48)
    assert int((data.train["input_ids"] == 1024).sum()) > 300  # the token that it has more
    with torch.no_grad():
        outputs = TASK.predict(
            TASK.load_model(source, 0), {"input_ids": data.test["input_ids"][:2]}
        )
    assert TASK.metrics(outputs)["loss"] == pytest.approx(math.log(1025), abs=0.5)
