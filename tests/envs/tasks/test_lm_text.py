"""A user's own text: packed, trained on, retained, refused."""

import json
from pathlib import Path

import pytest
import torch

from hpopt_envs import make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.tasks import Source, load_task
from hpopt_envs.tasks.lm import LanguageModeling
from hpopt_envs.tasks.lm_data import IGNORED, next_tokens

SPLITS = ("train", "validation", "test")


def write_texts(folder: Path, name: str, texts: list[str | None]) -> str:
    """A file of one JSON object a line, or of text."""
    lines = [json.dumps({"text": text}) for text in texts]
    content = "\n".join(lines) if name.endswith("l") else "\n\n".join(map(str, texts))
    (folder / name).write_text(content)
    return str(folder / name)


def functions(*numbers: int) -> list[str | None]:
    return [f"def f{i}(x):\n    return x + {i}" for i in numbers]


@pytest.mark.parametrize("ending", ["txt", "jsonl"])
def test_a_users_text_is_packed_split_by_split(ending: str, tmp_path: Path) -> None:
    written = {
        name: functions(*range(start, start + 20))
        for name, start in (("train", 100), ("validation", 200), ("test", 300))
    }
    if ending == "jsonl":  # as data sets of lines have them
        written = {name: ["", *texts, None, *texts] for name, texts in written.items()}
    settings = {
        f"{name}_file": write_texts(tmp_path, f"{name}.{ending}", texts)
        for name, texts in written.items()
    }
    data = load_task("lm", settings).load_data("embedded", 8)
    tokenizer = load_tokenizer("embedded")
    for name, texts in written.items():
        packed = tokenizer("".join(f"{text}<|endoftext|>" for text in texts if text))["input_ids"]
        expected = [packed[i : i + 8] for i in range(0, len(packed) - 7, 8)]
        assert sorted(getattr(data, name)["input_ids"].tolist()) == sorted(expected)


def test_texts_that_are_not_packed_are_examples_with_an_end_token(tmp_path: Path) -> None:
    written = {
        f"{name}_file": write_texts(
            tmp_path, f"{name}.jsonl", [*functions(i, i + 1, i + 2), "", "x"]
        )
        for i, name in enumerate(SPLITS)
    }
    task = load_task("lm", written | {"packing": False})
    data = task.load_data("embedded", None)
    assert task.form == "texts"
    tokenizer = load_tokenizer("embedded")
    split = data.train
    found = [
        ids[:size] for ids, size in zip(split["input_ids"].tolist(), split["length"], strict=True)
    ]
    texts = [f"{text}<|endoftext|>" for text in [*functions(0, 1, 2), "x"]]
    assert sorted(map(tokenizer.decode, found)) == sorted(texts)
    targets = [row[row != IGNORED].tolist() for row in next_tokens(split)]
    assert targets == [ids[1:] for ids in found]
    with pytest.raises(WorldError, match="^sequence_length: examples must fit into .*=8 tokens"):
        load_task("lm", written | {"packing": False}).load_data("embedded", 8)
    cut = load_task("lm", written | {"packing": False, "too_long": "truncate"})
    assert cut.load_data("embedded", 8).train["input_ids"].shape[1] == 8


def test_packing_is_said_of_the_user_s_own_texts_alone(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i} ", "completion": "a"} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for given, what in (
        ({}, "embedded text"),
        ({"train_file": str(tmp_path / "rows.jsonl")}, "rows of prompts or chats"),
    ):
        task = load_task("lm", {"packing": False, **given})
        with pytest.raises(WorldError, match=f"^packing: must be left out for {what}, but got"):
            task.load_data("embedded", None)
    with pytest.raises(WorldError, match="^packing: must be left out, since task 'classify'"):
        load_task("classify", {"packing": False})


def test_a_users_text_is_trained_on_and_what_the_base_model_writes_is_retained(
    tmp_path: Path,
) -> None:
    path = write_texts(tmp_path, "code.txt", functions(*range(60)))
    env = make_env(
        "lm", data={"train_file": path}, sequence_length=8, segment_tokens=512, trial_tokens=1024
    )
    assert env.facts.forgetting_weight == 0.1
    assert env.facts.base_metrics["forgetting"] == env.facts.base_metrics["divergence"] == 0.0
    written = 192 * 7  # tokens, of which each passed forward
    probed = 8 * 8  # tokens of the probe's retained examples, once by the base model
    expected = (written + probed) / 3 + env.facts.final_validation_cost
    assert env.facts.setup_cost == pytest.approx(expected)
    env.reset(seed=0)
    for _ in range(2):
        *_, info = env.train({"learning_rate": 3e-3, "batch_size": 4, "divergence_weight": 0.1})
    after = info["trial"].segments[-1].metrics
    assert after["loss"] < env.facts.base_metrics["loss"] - 0.5
    assert after["divergence"] > 0.001


@pytest.mark.parametrize("settings", [{}, {"train_file": "code.txt"}])
def test_text_that_is_given_is_retained(
    settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path, "code.txt", functions(*range(60)))
    prose: list[str | None] = [f"Number {i} is a number." for i in range(100, 200)]
    task = load_task("lm", {"retain_file": write_texts(tmp_path, "prose.txt", prose), **settings})
    data = task.load_data("embedded", 64)
    tokenizer = load_tokenizer("embedded")
    seen: list[str | None] = []
    for name in SPLITS:
        ids = getattr(data, f"retained_{name}")["input_ids"]
        assert ids.shape[1] == 64
        whole = [text.split("<|endoftext|>")[1:-1] for text in tokenizer.batch_decode(ids)]
        seen += [text for texts in whole for text in texts]
    assert len(seen) == len(set(seen)) > 20  # the others were cut
    assert set(seen) <= set(prose)
    assert task.prepare(torch.nn.Identity(), data) == (data, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_file": "long.txt"}, "sequence_length: must be at most .* validation .long.txt"),
        ({"train_file": "short.txt"}, "train_file: short.txt must have at least 3 different rows"),
        ({"retain_file": "long.txt"}, "of retained validation .long.txt., but got 64$"),
        ({"train_file": "long.txt", "text_column": "body"}, "^text_column: .* column 'body'"),
        ({"retain_file": "list.jsonl"}, r"^retain_file: .* must have text .* has \['a', 'b'\]"),
        ({"train_file": "list.jsonl"}, "^text_column: list.jsonl must have text in column 'text'"),
    ],
)
def test_text_that_cannot_be_used_is_refused_in_one_line(
    settings: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path, "long.txt", functions(*range(30)))
    write_texts(tmp_path, "short.txt", functions(1))
    Path("list.jsonl").write_text('{"text": ["a", "b"]}\n' * 9 + '{"text": "c"}\n{"text": "d"}')
    with pytest.raises(WorldError, match=message) as raised:
        LanguageModeling(Source(**settings)).load_data("embedded", 64)
    assert "\n" not in str(raised.value)
