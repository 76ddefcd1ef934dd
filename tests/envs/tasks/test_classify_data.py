"""Texts with labels: how they are read, and what is refused."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt_envs import make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.tasks import Source, load_task
from hpopt_envs.tasks.classify import Classification
from tests.envs.words import SPLITS, Rows, small_task, write_csv


def test_a_users_labels_are_read_and_sorted(tmp_path: Path) -> None:
    rows = (SPLITS["train"][0], [str(len(label)) for label in SPLITS["train"][1]])
    path = write_csv(tmp_path / "rows.csv", rows, ("sentence", "stars"))
    settings = {"train_file": path, "text_column": "sentence", "label_column": "stars"}
    task = load_task("classify", settings)
    assert isinstance(task, Classification)
    data = task.load_data("embedded", None)
    assert task.labels == ["3", "4"]
    assert task.chance_loss == pytest.approx(math.log(2))
    tokenizer, splits = load_tokenizer("embedded"), (data.train, data.validation, data.test)
    read = [
        (tokenizer.decode(ids[:length]), task.labels[label])
        for split in splits
        for ids, length, label in zip(
            split["input_ids"], split["length"], split["label"], strict=True
        )
    ]
    assert sorted(read) == sorted(zip(*rows, strict=True))
    assert [len(split["label"]) for split in splits] == [80, 10, 10]
    assert Counter(data.validation["label"].tolist()) == {0: 6, 1: 4}
    expected = [len(tokenizer(text)["input_ids"]) for text in rows[0]]
    counted = torch.cat([task.example_tokens(split) for split in splits])
    assert sorted(counted.tolist()) == sorted(expected)


def test_texts_that_are_too_long_are_refused_or_cut(encoders: dict[str, str]) -> None:
    for source, whose in (("embedded", "sequence_length=9"), (encoders["bert"], "sequence_len")):
        with pytest.raises(WorldError, match=f"^sequence_length: examples must fit into {whose}"):
            small_task().load_data(source, 9)
        data = small_task(too_long="truncate").load_data(source, 9)
        whole = small_task().load_data(source, None)
        assert int(data.train["length"].max()) == data.train["input_ids"].shape[1] == 9
        longer = whole.train["length"] > 9
        assert torch.equal(data.train["length"], whole.train["length"].clamp(max=9))
        end = 2 if source != "embedded" else whole.train["input_ids"][longer, 8]
        assert bool((data.train["input_ids"][longer, 8] == end).all())  # the encoder's "</s>"


def test_a_model_has_no_more_positions_than_its_tokenizer_says(encoders: dict[str, str]) -> None:
    long = {
        name: ([f"{text} {text}" for text in texts], labels)
        for name, (texts, labels) in SPLITS.items()
    }
    with pytest.raises(WorldError, match="fit into the model's limit of 18 tokens"):
        Classification(embedded=lambda: long).load_data(encoders["roberta"], None)
    with pytest.raises(WorldError, match="must be from 1 to 18 for model .*, but got 19"):
        Classification(embedded=lambda: long).load_data(encoders["roberta"], 19)
    task = Classification(Source(too_long="truncate"), embedded=lambda: long)
    data = task.load_data(encoders["roberta"], None)
    assert data.train["input_ids"].shape[1] == 18
    model: Any = task.load_model(encoders["roberta"], seed=0).eval()
    with torch.no_grad():
        assert task.logits(model, data.train)[0].shape == (100, 3)


GOOD = (["a b", "c d", "e f", "g h", "i j", "k l"], ["x", "y"] * 3)


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        (
            {"train": (["a", "b", "c"] * 3, ["x"] * 9)},
            {},
            r"label_column: train must have at least two classes, but has ['x']",
        ),
        (
            {"train": GOOD, "validation": (["a", "b"], ["x", "z"])},
            {},
            "label_column: every label of validation must occur in train, but 'z' (row 2) doesn't",
        ),
        (
            {"train": (["a", "", *"cdefg"], list("xyxyxyx"))},
            {},
            "text_column: train.csv must have something in every row of column 'text', but row 2",
        ),
        (
            {"train": (list("abcdefg"), ["x", "", *"xyxyx"])},
            {},
            "label_column: train.csv must have something in every row of column 'label', but row 2",
        ),
        ({"train": GOOD}, {"text_column": "body"}, "text_column: train.csv must have a column"),
        ({"train": GOOD}, {"label_column": "kind"}, "label_column: train.csv must have a column"),
        ({"train": GOOD}, {"class_weights": "equal"}, "class_weights: must be one of none, bala"),
        ({"train": GOOD}, {"length": 1}, "sequence_length: examples must fit into sequence_lengt"),
        (
            {"train": GOOD},
            {"length": 0},
            "sequence_length: must be a whole number of at least 1, b",
        ),
        ({"train": GOOD}, {"length": 257}, "sequence_length: must be from 1 to 256 for model em"),
    ],
)
def test_data_that_cannot_be_used_is_refused_in_one_line(
    files: dict[str, Rows],
    settings: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {f"{name}_file": write_csv(Path(f"{name}.csv"), rows) for name, rows in files.items()}
    length = settings.get("length")
    columns = {name: value for name, value in settings.items() if name != "length"}
    with pytest.raises(WorldError) as raised:
        make_env("classify", data=paths | columns, sequence_length=length)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_text_without_a_token_is_refused() -> None:
    rows = SPLITS | {"test": (["a", ""], ["sum", "sum"])}
    message = "^text_column: every text of test must have a token, but '' has none$"
    with pytest.raises(WorldError, match=message):
        Classification(embedded=lambda: rows).load_data("embedded", None)


@pytest.mark.parametrize(
    ("task", "setting"),
    [
        ("lm", "label_column"),
        ("lm", "chosen_column"),
        ("classify", "prompt_column"),
        ("classify", "retain_file"),
        ("hpopt_envs.tasks.lm:LanguageModeling", "train_file"),
    ],
)
def test_data_that_a_task_does_not_take_is_refused_by_name(task: str, setting: str) -> None:
    with pytest.raises(WorldError) as raised:
        load_task(task, {setting: "x"})
    message = f"{setting}: must be left out, since task {task!r} doesn't take it"
    assert str(raised.value) == message
    load_task(task, {setting: None})
