"""Each task, searched, exported and run by the file's own instructions: it trains as it did."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpopt_envs.data.code_labels import summaries
from hpopt_envs.data.corpus import read_corpus
from hpopt_envs.data.locale_formats import new_locale_tables
from hpopt_envs.models import load_model, load_tokenizer
from hpopt_envs.tasks.preference_data import embedded_pairs
from tests.hpopt.export.pasting import Pasted, Rows, paste
from tests.hpopt.export.trainers import TRAINERS

pytestmark = pytest.mark.slow

HELD = {"batch_size": 4, "schedule_shape": "linear", "warmup_fraction": 0.25}
PENALIZED = HELD | {"divergence_weight": 0.5}
PLAIN = HELD | {"divergence_weight": 0.0}
SIZES = {"train": 512, "validation": 128, "test": 32}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def texts() -> dict[str, list[str]]:
    """Pieces of code, some two hundred characters each."""
    code = read_corpus().code
    found = {}
    for name, size in SIZES.items():
        joined = "\n".join(getattr(code, name).values())
        found[name] = [joined[i : i + 200].strip() for i in range(0, 200 * size, 200)]
    return found


def rows(of: str) -> dict[str, Rows]:
    pieces = texts()
    if of == "texts":
        return {name: [{"body": text} for text in found] for name, found in pieces.items()}
    halves = {n: [(t[:100].strip(), t[100:]) for t in found] for n, found in pieces.items()}
    if of == "completions":
        return {n: [{"ask": a, "answer": b} for a, b in found] for n, found in halves.items()}
    asked = [{"role": "user"}, {"role": "assistant"}]
    return {
        n: [
            {"messages": [m | {"content": t} for m, t in zip(asked, pair, strict=True)]}
            for pair in found
        ]
        for n, found in halves.items()
    }


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The embedded model, stored in bfloat16, with a template of chats."""
    folder = tmp_path_factory.mktemp("model")
    load_model("embedded", 0).bfloat16().save_pretrained(folder)
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return str(folder)


def pairs() -> dict[str, Rows]:
    tables = embedded_pairs()[0]
    return {name: as_rows(table.columns, SIZES[name]) for name, table in tables.items()}


def as_rows(columns: Mapping[str, Sequence[Any]], most: int) -> Rows:
    cells = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in list(cells)[:most]]


def check(pasted: Pasted, noise: float) -> None:
    """The learning rate of every step is the search's, and so is the loss but for the seed's noise.

    Args:
        pasted: a run of each.
        noise: nats, some three standard deviations over seeds.
    """
    _, found, trained = pasted.losses
    assert pasted.rates == pytest.approx(pasted.wanted_rates)
    assert trained == pytest.approx(found, abs=noise)


@pytest.mark.parametrize("to", TRAINERS)
def test_blocks_of_text(tmp_path: Path, to: str) -> None:
    check(paste(tmp_path, to, rows("texts"), task="lm", text_column="body", fix=PLAIN), 0.1)


@pytest.mark.parametrize("to", TRAINERS)
def test_texts_one_by_one_with_a_penalty(tmp_path: Path, to: str) -> None:
    asked = {"text_column": "body", "packing": False, "fix": PENALIZED | {"lora_rank": 4}}
    check(paste(tmp_path, to, rows("texts"), task="lm", **asked), 0.1)


@pytest.mark.parametrize("to", TRAINERS)
def test_prompts_and_completions(tmp_path: Path, to: str) -> None:
    asked = {"prompt_column": "ask", "completion_column": "answer", "fix": PLAIN}
    check(paste(tmp_path, to, rows("completions"), task="lm", **asked), 0.1)


@pytest.mark.parametrize("to", TRAINERS)
def test_chats(tmp_path: Path, chatting: str, to: str) -> None:
    check(paste(tmp_path, to, rows("chats"), task="lm", model=chatting, fix=PLAIN), 0.1)


@pytest.mark.parametrize("lora", [0, 4])
def test_classes_with_a_penalty(tmp_path: Path, lora: int) -> None:
    data = {
        name: as_rows({"text": texts, "label": labels}, SIZES[name])
        for name, (texts, labels) in summaries().items()
    }
    fixed = PENALIZED | ({"lora_rank": lora} if lora else {})
    asked: dict[str, Any] = {"task": "classify", "fix": fixed, "displacement": -2.0}
    check(paste(tmp_path, "transformers", data, **asked), 0.1)


def test_sequences_into_sequences_with_a_penalty(tmp_path: Path) -> None:
    data = {n: as_rows(table.columns, SIZES[n]) for n, table in new_locale_tables().items()}
    check(paste(tmp_path, "transformers", data, task="text2text", fix=PENALIZED), 0.1)


def test_pairs(tmp_path: Path) -> None:
    fixed = HELD | {"divergence_weight": 0.5, "divergence": "jensen_shannon"}
    check(paste(tmp_path, "trl", pairs(), task="dpo", fix=fixed, displacement=-2.0), 0.03)
