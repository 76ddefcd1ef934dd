"""Rows of a user's, a model that chats, and encoders."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hpopt_envs.models import load_tokenizer
from tests.envs.tasks.rows import TEMPLATE, Write
from tests.envs.words import SPLITS


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes rows to a file of the working directory."""
    monkeypatch.chdir(tmp_path)

    def rows_to_file(rows: list[dict[str, Any]]) -> str:
        Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return "rows.jsonl"

    return rows_to_file


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a model that has a chat template."""
    folder = tmp_path_factory.mktemp("chat")
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = GPT2Config(
        vocab_size=1024,
        n_positions=200,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of random encoders with 18 positions, whose tokenizer has a word a token."""
    words = sorted({word for texts, _ in SPLITS.values() for t in texts for word in t.split()})
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "?", *words])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "?"}
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, model_max_length=18, **special
    )
    size: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.5,
        "pad_token_id": 1,
    }
    folders = {}
    torch.manual_seed(0)
    for name, model in (
        ("bert", BertForSequenceClassification(BertConfig(max_position_embeddings=18, **size))),
        # Its positions begin behind that of padding.
        (
            "roberta",
            RobertaForSequenceClassification(RobertaConfig(max_position_embeddings=20, **size)),
        ),
    ):
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[name] = str(folder)
    return folders


@pytest.fixture(params=["embedded", "bert", "roberta"])
def source(request: pytest.FixtureRequest, encoders: dict[str, str]) -> str:
    """A causal model, or an encoder."""
    return encoders.get(request.param, "embedded")
