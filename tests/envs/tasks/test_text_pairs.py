"""Two texts and a class."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from hpopt_envs import make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.settings import Source
from hpopt_envs.tasks.classify import Classification
from tests.envs.tokenizers import marking, save_tiny

ROWS = [
    {"a": f"river {i % 7}", "b": f"stone {'lamp ' * (i % 3)}{i}", "label": i % 2} for i in range(40)
]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    monkeypatch.chdir(tmp_path)
    return Source("rows.jsonl", text_column="a,b")


def test_an_encoder_is_told_which_text_a_token_is_in(source: Source, tmp_path: Path) -> None:
    tokenizer = marking()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    save_tiny(tmp_path / "bert", tokenizer)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=len(tokenizer), num_hidden_layers=1, initializer_range=0.5, **size
    )
    BertForSequenceClassification(config).save_pretrained("bert")
    task = Classification(source)
    data = task.load_data("bert", None)
    model: Any = task.load_model("bert", 0).eval()
    theirs = AutoTokenizer.from_pretrained("bert")
    texts = {theirs(row["a"], row["b"])["input_ids"].__repr__(): row for row in ROWS}
    for number in range(4):
        one = {name: tensor[number : number + 1] for name, tensor in data.train.items()}
        row = texts[repr(one["input_ids"][0, : int(one["length"])].tolist())]
        with torch.no_grad():
            expected = model(**theirs(row["a"], row["b"], return_tensors="pt")).logits
            torch.testing.assert_close(task.logits(model, one)[0], expected)


def test_a_decoder_reads_them_on_two_lines(source: Source) -> None:
    data = Classification(source).load_data("embedded", None)
    tokenizer = load_tokenizer("embedded")
    read = {
        tokenizer.decode(ids[:length])
        for ids, length in zip(data.train["input_ids"], data.train["length"], strict=True)
    }
    assert "second" not in data.train
    assert read <= {f"{row['a']}\n{row['b']}" for row in ROWS}


def test_pairs_are_trained_on(source: Source) -> None:
    env = make_env("classify", data=source)
    env.reset(seed=0)
    *_, info = env.train({"learning_rate": 1e-3, "batch_size": 4, "divergence_weight": 0.0})
    assert info["segment"].metrics["macro_f1"] >= 0


def test_a_column_with_a_comma_in_its_name_is_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(json.dumps({"a,b": r["a"] + r["b"], "label": r["label"]}) for r in ROWS)
    )
    data = Classification(Source(str(path), text_column="a,b")).load_data("embedded", None)
    assert "\n" not in load_tokenizer("embedded").decode(data.train["input_ids"][0])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("a,b,label", "text_column: must be one column, or two, but got a,b,label"),
        ("a,c", "text_column: rows.jsonl must have a column 'c'"),
    ],
)
def test_other_columns_are_refused(columns: str, said: str, source: Source) -> None:
    with pytest.raises(WorldError, match=said):
        Classification(Source("rows.jsonl", text_column=columns)).load_data("embedded", None)
