"""Classes: what may be one, how it is called, in which order, and splits without any."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from hpopt_envs.data.labels import in_order
from hpopt_envs.errors import WorldError
from hpopt_envs.settings import Source
from hpopt_envs.tasks import load_task
from tests.envs.data.reading import splits_of


def write(path: Path, labels: list[Any], first: int = 0) -> str:
    rows = [{"text": f"{first + i}", "label": label} for i, label in enumerate(labels)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (list(range(12)), [f"{i}" for i in range(12)]),
        ([f"{i}" for i in range(12)], [f"{i}" for i in range(12)]),
        ([float(i) for i in range(12)], [f"{i}" for i in range(12)]),
        ([-1, 10, 0, 2], ["-1", "0", "2", "10"]),
        (["1.0", "10.0", "2.0"], ["1", "2", "10"]),
        (["10", "9", "other"], ["10", "9", "other"]),
        (["v1.5", "2.5"], ["2.5", "v1.5"]),
        ([True, False], ["False", "True"]),
        (["joy", " joy", "fear "], ["fear", "joy"]),
        (["10 ", " 9"], ["9", "10"]),
    ],
)
def test_classes_are_in_the_order_of_their_numbers(
    labels: list[Any], names: list[str], tmp_path: Path
) -> None:
    source = Source(write(tmp_path / "rows.jsonl", labels * 10))
    assert in_order(splits_of(source, "label")["train"].columns["label"]) == names


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([["joy"], ["fear"]], r"row 1 has \['joy'\]"),
        (["joy", ["joy", "fear"]], r"row 2 has \['joy', 'fear'\]"),
        (["joy", []], r"row 2 has \[\]"),
        ([{"name": "joy"}], "row 1 has {'name': 'joy'}"),
        ([1, 2.5], "row 2 has 2.5, a number with a fraction"),
        (["0.5", "1.0"], "row 1 has 0.5, a number with a fraction"),
        ([1.0, float("inf")], "row 2 has inf"),
        ([True, "true"], "row 2 has 'true', where others have true or false"),
        ([1, False], "row 1 has 1, where others have true or false"),
    ],
)
def test_what_is_no_class_is_refused_in_one_line(
    labels: list[Any], said: str, tmp_path: Path
) -> None:
    source = Source(write(tmp_path / "rows.jsonl", labels * 10))
    where = f"^label_column: {source.train_file} must have one class a row in column 'label', but "
    with pytest.raises(WorldError, match=where + said) as raised:
        splits_of(source, "label")
    assert "\n" not in str(raised.value)


def test_a_row_without_a_class_is_refused_where_its_data_set_says_so(tmp_path: Path) -> None:
    classes = datasets.Features({"label": datasets.ClassLabel(names=["joy", "fear"])})
    rows = datasets.Dataset.from_dict({"label": [0, 1, -1] * 20}, features=classes)
    rows.save_to_disk(tmp_path / "saved")
    with pytest.raises(WorldError, match="every row of column 'label', but row 3 is empty"):
        splits_of(Source(dataset=str(tmp_path / "saved")), "label")


@pytest.mark.parametrize("hidden", [None, "", -1, "-1", -1.0])
def test_a_split_that_keeps_its_labels_secret_is_made_from_train(
    hidden: Any, tmp_path: Path
) -> None:
    train = write(tmp_path / "train.jsonl", [0, 1] * 40)
    test = write(tmp_path / "test.jsonl", [hidden] * 9, first=1000)
    splits = splits_of(Source(train, test_file=test), "label")
    assert {len(splits[name]) for name in ("validation", "test")} == {8}
    assert splits["test"].where == train
    assert (
        splits["test"].note == f"{test} has no answers in column 'label': test is made of {train}"
    )
    task = load_task("classify", {"train_file": train, "test_file": test})
    task.load_data("embedded", None)
    assert list(task.notes) == [splits["test"].note]


def test_so_is_one_that_has_no_such_column(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [0, 1] * 40)
    (tmp_path / "test.csv").write_text("text\n" + "x\n" * 9)
    splits = splits_of(Source(train, test_file=str(tmp_path / "test.csv")), "label")
    assert splits["test"].where == train


def test_a_class_that_train_has_is_no_secret(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [-1, 1] * 40)
    test = write(tmp_path / "test.jsonl", [-1] * 9, first=1000)
    splits = splits_of(Source(train, test_file=test), "label")
    assert splits["test"].columns["label"] == ["-1"] * 9
    assert not splits["test"].note
