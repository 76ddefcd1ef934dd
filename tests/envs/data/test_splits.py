"""Which rows are trained on and which are held out."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from hpopt_envs.errors import WorldError
from hpopt_envs.settings import Source
from hpopt_envs.tasks import load_task
from tests.envs.data.reading import splits_of, values_of, write_lines


@pytest.mark.parametrize(("rows", "held_out"), [(3, 1), (14, 1), (16, 2), (100, 10), (996, 100)])
def test_a_tenth_of_the_rows_is_held_out_for_each_of_validation_and_test(
    rows: int, held_out: int, tmp_path: Path
) -> None:
    splits = values_of(splits_of(Source(write_lines(tmp_path / "a.jsonl", list(range(rows))))))
    sizes = {name: len(split) for name, split in splits.items()}
    assert sizes == {"train": rows - 2 * held_out, "validation": held_out, "test": held_out}


def test_held_out_rows_come_from_all_over_the_file(tmp_path: Path) -> None:
    splits = values_of(splits_of(Source(write_lines(tmp_path / "a.jsonl", list(range(100))))))
    for name in ("validation", "test"):
        assert min(splits[name]) < 40
        assert max(splits[name]) > 60


@given(st.lists(st.integers(0, 30), min_size=3).filter(lambda values: len(set(values)) > 2))
def test_splits_are_disjoint_together_the_whole_and_the_same_again(
    tmp_path_factory: pytest.TempPathFactory, values: list[int]
) -> None:
    path = write_lines(tmp_path_factory.getbasetemp() / "drawn.jsonl", values)
    tables = splits_of(Source(path))
    assert list(tables) == ["train", "validation", "test"]
    splits = values_of(tables)
    assert Counter(value for split in splits.values() for value in split) == Counter(values)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(splits[one]) & set(splits[other])
        assert splits[one]
        assert splits[other]
    for name, table in tables.items():  # in the order of the file
        assert table.numbers is not None
        assert [values[number - 1] for number in table.numbers] == splits[name]
        assert list(table.numbers) == sorted(table.numbers)
    assert values_of(splits_of(Source(path))) == splits


def test_a_row_that_is_repeated_often_is_trained_on(tmp_path: Path) -> None:
    values = ["again"] * 500 + [f"{i}" for i in range(200)]
    splits = values_of(splits_of(Source(write_lines(tmp_path / "a.jsonl", values))))
    assert splits["train"].count("again") == 500
    assert len(splits["validation"]) == len(splits["test"]) == 70


def test_made_splits_keep_the_class_balance_as_scikit_learn_does(tmp_path: Path) -> None:
    labels = ["a"] * 620 + ["b"] * 280 + ["c"] * 100
    random.Random(0).shuffle(labels)
    frame = pandas.DataFrame({"text": [f"{i}" for i in range(1000)], "label": labels})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    splits = splits_of(Source(str(tmp_path / "rows.csv")), "label")
    _, reference = train_test_split(labels, test_size=0.1, stratify=labels, random_state=0)
    for name in ("validation", "test"):
        assert Counter(splits[name].columns["label"]) == Counter(reference)


def test_a_class_is_in_every_split_or_in_train_alone(tmp_path: Path) -> None:
    few = ["pair", "pair", "three", "three", "three", "copies", "copies", "copies", "copies"]
    texts = [f"{i}" for i in range(len(few) - 4)] + ["same", "same", "same", "other"]
    frame = pandas.DataFrame(
        {"text": [*texts, *(f"x{i}" for i in range(60))], "label": [*few, *["many"] * 60]}
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    splits = splits_of(Source(str(tmp_path / "rows.parquet")), "label")
    labels = {name: Counter(table.columns["label"]) for name, table in splits.items()}
    assert labels["train"] == {"pair": 2, "three": 1, "copies": 4, "many": 48}
    assert labels["validation"] == labels["test"] == {"three": 1, "many": 6}


def test_splits_that_are_given_stay_as_they_are(tmp_path: Path) -> None:
    train = write_lines(tmp_path / "train.jsonl", list(range(40)))
    test = write_lines(tmp_path / "test.jsonl", [3, 3, 1])
    splits = values_of(splits_of(Source(train, test_file=test)))
    assert splits["test"] == [3, 3, 1]
    assert len(splits["validation"]) == 4
    assert sorted(splits["train"] + splits["validation"]) == list(range(40))
    given_all = values_of(splits_of(Source(test, test, train)))
    assert given_all == {"train": [3, 3, 1], "validation": [3, 3, 1], "test": list(range(40))}


def test_a_row_of_a_made_split_is_named_by_its_number_in_the_file(tmp_path: Path) -> None:
    rows = [{"text": f"{i}", "note": "" if i == 16 else "n"} for i in range(30)]
    pandas.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    messages = set()
    for table in splits_of(Source(str(tmp_path / "rows.csv"))).values():
        try:
            table.column("note", "text_column")
        except WorldError as error:
            messages.add(str(error))
    assert messages == {
        f"text_column: {tmp_path / 'rows.csv'} must have something in every row of column 'note', "
        "but row 17 is empty"
    }


@pytest.mark.parametrize("conflicting", [False, True])
def test_equal_texts_are_in_one_split_whatever_else_a_row_has(
    conflicting: bool, tmp_path: Path
) -> None:
    coin = random.Random(0)
    labels = [coin.choice("ab") for _ in range(320)]
    if not conflicting:
        labels = [labels[i % 40] for i in range(320)]
    frame = pandas.DataFrame(
        {"id": range(320), "text": [f"t{i % 40}" for i in range(320)], "label": labels}
    )
    frame.loc[300:, "text"] = [f"new {i}" for i in range(20)]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    splits = splits_of(Source(str(tmp_path / "rows.csv")), "label")
    texts = {name: set(table.columns["text"]) for name, table in splits.items()}
    assert not texts["train"] & (texts["validation"] | texts["test"])
    assert not texts["validation"] & texts["test"]


ROWS: dict[str, list[tuple[dict[str, str], Callable[[int, int], dict[str, Any]]]]] = {
    "lm": [
        ({}, lambda i, k: {"prompt": f"p{k}", "completion": "c"}),
    ],
    "text2text": [
        (
            {"prompt_template": "{a[b]}", "completion_column": "c"},
            lambda i, k: {"a": {"b": f"p{k}", "id": i}, "c": "x"},
        )
    ],
    "dpo": [({}, lambda i, k: {"prompt": f"p{k}", "chosen": "yes", "rejected": "no"})],
    "align": [({"reward": "length:3"}, lambda i, k: {"prompt": f"p{k}", "note": f"{i}"})],
    "classify": [
        ({"text_column": "a,b"}, lambda i, k: {"a": f"p{k}", "b": "x", "label": k % 2}),
    ],
}


@pytest.mark.parametrize(
    ("task", "case"), [(task, i) for task, cases in ROWS.items() for i in range(len(cases))]
)
def test_every_task_tells_rows_apart_by_what_it_reads(task: str, case: int, tmp_path: Path) -> None:
    settings, row = ROWS[task][case]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"id": i, **row(i, i % 30)}) for i in range(300)))
    model = "embedded-t5" if task == "text2text" else "embedded"
    data = load_task(task, {"train_file": str(path), **settings}).load_data(model, None)
    name = next(n for n in ("source_ids", "prompt_ids", "input_ids") if n in data.train)
    rows = [
        {tuple(ids.flatten().tolist()) for ids in getattr(data, split)[name]}
        for split in ("train", "validation", "test")
    ]
    width = min(len(next(iter(split))) for split in rows)
    train, *held_out = ({ids[:width] for ids in split} for split in rows)
    assert all(2 <= len(split) <= 4 for split in held_out)
    assert not train & set().union(*held_out)
