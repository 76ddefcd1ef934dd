"""Prompts and what follows them: the tokens of the two texts in a row."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt_envs.data.tables import Table
from hpopt_envs.data.tokens import join
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.settings import Source
from hpopt_envs.tasks import load_task
from hpopt_envs.tasks.lm_data import encode_rows
from hpopt_envs.tasks.preference_data import encode_pairs
from tests.envs.tokenizers import marking, save_tiny

TEXTS = [
    ("river 1\n", "stone"),
    ("river:", " stone"),
    ("river ", "stone 2"),
    ("ri", "ver 3"),
    ("", "lamp"),
]


@pytest.mark.parametrize("prepend", ["always", "first", "never"])
@pytest.mark.parametrize(("prompt", "said"), TEXTS)
def test_nothing_comes_between_a_prompt_and_what_follows(
    prompt: str, said: str, prepend: str
) -> None:
    tokenizer = marking(prepend)
    whole = tokenizer.decode(tokenizer(prompt + said, add_special_tokens=False)["input_ids"])
    given, learnt = join(tokenizer, prompt, said)
    assert (
        given == tokenizer(prompt, add_special_tokens=False)["input_ids"]
    )  # what it is asked with
    assert tokenizer.decode(given + learnt) == whole
    row = {
        "prompt": [prompt or "green"],
        "completion": [said],
        "chosen": [said],
        "rejected": ["lamp"],
    }
    whole = f"{row['prompt'][0]}{said}"
    ((ids, _),) = encode_rows(tokenizer, Table(row, "rows"), Source())
    ((chosen, _),) = encode_pairs(tokenizer, Table(row, "rows"), Source())
    for found in (ids, chosen[0]):
        assert tokenizer.decode(found, skip_special_tokens=True) == whole


def test_two_texts_are_those_in_a_row_where_no_token_is_in_both() -> None:
    for tokenizer in (marking(), load_tokenizer("embedded")):
        prompt, said = "river 1:", " stone\nlamp"
        given, learnt = join(tokenizer, prompt, said)
        assert given + learnt == tokenizer(prompt + said, add_special_tokens=False)["input_ids"]


def rows(kind: str, marked: int) -> list[dict[str, Any]]:
    texts = [f"river {i}" + (" <note>" if i == marked else "") for i in range(30)]
    if kind == "classify":
        return [{"text": text, "label": i % 2} for i, text in enumerate(texts)]
    if kind == "dpo":
        return [{"prompt": "lamp", "chosen": text, "rejected": "stone"} for text in texts]
    if kind == "chats":
        said = [{"role": "assistant", "content": "stone"}]
        return [{"messages": [{"role": "user", "content": text}, *said]} for text in texts]
    if kind == "text":
        return [{"text": f"{text} lamp stone green"} for text in texts]
    return [{"prompt": text, "completion": "stone"} for text in texts]


@pytest.fixture(scope="module")
def more_tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """A model without embeddings for two tokens of its tokenizer's, and how many it has."""
    folder, tokenizer = tmp_path_factory.mktemp("more"), marking()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    save_tiny(folder, tokenizer)
    size = len(tokenizer)
    tokenizer.add_tokens(["<note>"])
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    return str(folder), size


KINDS = ["lm", "text", "chats", "text2text", "classify", "dpo", "align"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_the_model_lacks_is_refused_with_its_row(
    kind: str, more_tokens: tuple[str, int], tmp_path: Path
) -> None:
    model, size = more_tokens
    task = "lm" if kind in ("text", "chats") else kind
    for marked, name in ((17, "bad.jsonl"), (-1, "good.jsonl")):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows(kind, marked))))
    path = str(tmp_path / "bad.jsonl")
    with pytest.raises(WorldError) as raised:
        load_task(task, {"train_file": path}).load_data(model, 8 if kind == "text" else None)
    assert str(raised.value) == (
        f"model: must have an embedding for every token of its tokenizer, which has {size + 2}, "
        f"but has {size}: {path}, row 18 has token {size}, '<note>'"
    )
    # The token for padding is one of those that it lacks, and isn't used.
    good = load_task(task, {"train_file": str(tmp_path / "good.jsonl")})
    data = good.load_data(model, 8 if kind == "text" else None)
    name = "prompt_ids" if kind == "align" else "input_ids"
    assert int(torch.max(data.train[name])) < size
