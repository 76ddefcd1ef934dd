"""Models that can't be trained as asked: told before anything is spent."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from hpopt_envs import make_env
from hpopt_envs.errors import WorldError
from tests.envs.tokenizers import marking, save_tiny

MODELS = """
import torch

class Recurrent(torch.nn.Module):
    def __init__(self, words=1024, both=False):
        super().__init__()
        self.words = torch.nn.Embedding(words, 16)
        self.cells = torch.nn.GRU(16, 8 if both else 16, batch_first=True, bidirectional=both)
        self.out = torch.nn.Linear(16, 1024)

    def forward(self, ids):
        return self.out(self.cells(self.words(ids))[0])

def forward(): return Recurrent()
def both_ways(): return Recurrent(both=True)
def few_words(): return Recurrent(words=300)
"""
ROWS = [
    {
        "prompt": f"river {i}",
        "completion": f"stone {i}",
        "chosen": f"lamp {i}",
        "rejected": "green",
    }
    for i in range(40)
]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_models.py").write_text(MODELS)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "rows.jsonl"


@pytest.mark.parametrize("task", ["lm", "text2text", "dpo", "align"])
def test_a_model_that_looks_ahead_is_refused(task: str, rows: str) -> None:
    tokenizer = marking()
    save_tiny(Path("bert"), tokenizer)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=1, **size)
    BertForMaskedLM(config).save_pretrained("bert")
    with pytest.raises(WorldError) as raised:
        make_env(task, "bert", data={"train_file": rows})
    assert str(raised.value) == (
        "model: must predict each token from those before it, but the predictions of "
        "BertLMHeadModel change with later ones, as an encoder's do"
    )


PLAIN = {"forgetting_weight": 0.0, "space": "plain"}


def test_a_model_that_cannot_write_needs_no_text_where_nothing_is_retained(rows: str) -> None:
    env = make_env("lm", "own_models:forward", data={"train_file": rows}, **PLAIN)
    assert "forgetting" not in env.facts.base_metrics
    env.reset(seed=0)
    *_, info = env.train({"learning_rate": 1e-2, "batch_size": 4})
    assert info["segment"].train_loss < env.facts.base_loss


def test_a_model_that_cannot_write_learns_from_pairs(rows: str) -> None:
    env = make_env("dpo", "own_models:forward", data={"train_file": rows})
    env.reset(seed=0)
    *_, info = env.train({"learning_rate": 1e-2, "batch_size": 4, "divergence_weight": 0.1})
    assert info["segment"].train_loss < env.facts.base_loss


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        ("forward", {}, "retain_file: must be given, since this model can't write text"),
        ("forward", {"forgetting_weight": 0.0}, "forgetting_weight=0 and a space without diverg"),
        ("forward", {"space": "plain"}, "retain_file: must be given"),
        ("both_ways", PLAIN, "the predictions of Recurrent change with later ones"),
        ("few_words", PLAIN, "must have an embedding for every token, but has 300, and train has"),
    ],
)
def test_other_models_of_ones_own_are_refused_in_one_line(
    model: str, settings: dict[str, object], said: str, rows: str
) -> None:
    with pytest.raises(WorldError, match=said) as raised:
        make_env("lm", f"own_models:{model}", data={"train_file": rows}, **settings)
    assert "\n" not in str(raised.value)
