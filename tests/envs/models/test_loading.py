import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hpopt_envs.data.corpus import read_corpus
from hpopt_envs.errors import WorldError
from hpopt_envs.models import EMBEDDED, load_model, load_tokenizer, model_hash, save_model

FACTORY = """
import torch

def build():
    return torch.nn.Linear(3, 2)

def broken():
    raise RuntimeError("no weights today\\nand a second line")

def nothing():
    return None
"""

BASE = EMBEDDED["embedded"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_the_embedded_model_loads_as_any_other_and_knows_prose_better_than_code() -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(BASE)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    corpus = read_corpus(train_characters=0)

    @torch.no_grad()
    def loss(documents: dict[str, str]) -> float:  # by transformers' own account
        ids = tokenizer("\n".join(documents.values()), verbose=False)["input_ids"]
        rows = torch.tensor(ids[: 128 * 64]).view(128, 64)
        return float(model(rows, labels=rows).loss)

    prose, code = loss(corpus.prose.test), loss(corpus.code.test)
    assert prose < 0.6 * math.log(len(tokenizer))
    assert prose + 0.5 < code < math.log(len(tokenizer))
    assert 400_000 <= model.num_parameters() <= 900_000
    assert sum(file.stat().st_size for file in BASE.iterdir()) < 3e6


@pytest.mark.usefixtures("no_network")
def test_the_alias_is_that_model_in_float32() -> None:
    model = load_model("embedded", seed=0)
    same = AutoModelForCausalLM.from_pretrained(BASE)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model_hash(model) == model_hash(same) == model_hash(load_model(str(BASE), seed=1))


def test_the_tokenizer_gives_back_what_it_was_given() -> None:
    tokenizer = load_tokenizer("embedded")
    for text in ("def f(x):\n\treturn {'é': x}  # ünï 🙂\n", "", "  a ,b . \r\n\n", "\x00\x7f"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == 1024


def test_a_factory_of_the_working_directory_is_seeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seeded_factory.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = torch.get_rng_state()
    hashes = [model_hash(load_model("seeded_factory:build", seed)) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("failing_factory:broken", "RuntimeError: no weights today"),
        ("failing_factory:nothing", "must return a torch.nn.Module, but returned None"),
        ("failing_factory:absent", "has no absent"),
        ("no_such_module_here:build", "no_such_module_here"),
        ("./no/such/folder", "'./no/such/folder' can't be loaded"),
        (".", "'.' can't be loaded"),
        ("someone/some-model", "'someone/some-model' can't be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(
    source: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "failing_factory.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # unreachable
    with pytest.raises(WorldError) as raised:
        load_model(source, seed=0)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_the_hash_tells_any_change_of_weights() -> None:
    model = torch.nn.BatchNorm1d(4)
    original = model_hash(model)
    means = dict(model.named_buffers())["running_mean"]
    means[2] = torch.finfo(torch.float32).tiny  # the least of changes
    assert model_hash(model) != original
    means[2] = 0.0
    assert model_hash(model) == original
    assert model_hash(model.bfloat16()) != original


def test_a_plain_module_is_saved_as_safetensors(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    save_model(model, tmp_path / "best")
    saved = load_file(tmp_path / "best" / "model.safetensors")
    assert torch.equal(saved["weight"], model.weight)
    assert torch.equal(saved["bias"], model.bias)
