import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from hpopt_envs.data.sources import read_splits
from hpopt_envs.data.tables import Table, read_table
from hpopt_envs.errors import WorldError
from hpopt_envs.settings import Source

ROWS: dict[str, list[Any]] = {
    "text": ["plain", 'a "quoted", word\t', "two\n\nlines", "ünï 🙂\u2028\u00a0end", "#", "{"],
    "label": ["NA", "None", "null", "nan", "N/A", "true"],
    "stars": [1, -2, 0, 30, 7, 10**17],
}
FRAME = pandas.DataFrame(ROWS)
WRITERS: dict[str, Callable[[Path], Any]] = {
    "rows.csv": lambda path: FRAME.to_csv(path, index=False),
    "rows.CSV": lambda path: FRAME.to_csv(path, index=False, encoding="utf-8-sig", quoting=1),
    "crlf.csv": lambda path: FRAME.to_csv(path, index=False, lineterminator="\r\n"),
    "spaced.csv": lambda path: FRAME.to_csv(path, index=False, lineterminator="\n\n"),
    "rows.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "rows.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "rows.json": lambda path: FRAME.to_json(path, orient="records", force_ascii=False, indent=2),
    "lines.json": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "rows.parquet": lambda path: FRAME.to_parquet(path, row_group_size=2),
}


def write_lines(path: Path, values: list[Any]) -> str:
    path.write_text("\n".join(json.dumps({"value": value}) for value in values), "utf-8")
    return str(path)


def splits_of(source: Source, label: str | None = None) -> dict[str, Table]:
    tables = read_splits(source, label)
    assert tables is not None
    return tables


def values_of(tables: dict[str, Table], name: str = "value") -> dict[str, list[Any]]:
    return {split: table.column(name, "text_column") for split, table in tables.items()}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    table = read_table(str(tmp_path / name), "train_file")
    assert dict(table.columns) == ROWS
    assert {type(value) for value in table.column("stars", "label_column")} == {int}


def test_numbers_that_are_written_in_another_way_stay_what_they_are(tmp_path: Path) -> None:
    columns = {"a": ["007", "7"], "b": ["1.50", "2"], "c": ["-0", "0"], "d": [" 1", "1"]}
    pandas.DataFrame(columns).to_csv(tmp_path / "rows.csv", index=False)
    assert read_table(str(tmp_path / "rows.csv"), "train_file").columns == columns


def test_a_cell_may_hold_a_whole_document(tmp_path: Path) -> None:
    document = 'one line, "another"\n' * 50_000
    pandas.DataFrame({"text": [document]}).to_csv(tmp_path / "rows.csv", index=False)
    assert read_table(str(tmp_path / "rows.csv"), "train_file").columns == {"text": [document]}


@pytest.mark.parametrize("name", ["notes.txt", "NOTES.md", "notes.text", "notes"])
def test_rows_of_a_text_file_are_blocks_between_blank_lines(name: str, tmp_path: Path) -> None:
    text = "\n\none\ntwo\r\n\r\n\tthree,\n    four \n \t\n\n\nünf\n"
    (tmp_path / name).write_bytes(text.encode())
    table = read_table(str(tmp_path / name), "retain_file")
    assert table.columns == {"text": ["one\ntwo", "\tthree,\n    four ", "ünf"]}


def test_conversations_stay_nested(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    datasets.Dataset.from_dict({"messages": [talk]}).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": talk}))
    for name in ("rows.parquet", "rows.jsonl"):
        table = read_table(str(tmp_path / name), "train_file")
        assert table.column("messages", "messages_column") == [talk]


@pytest.mark.parametrize("nothing", [None, "", [], float("nan")])
def test_a_row_with_nothing_in_it_is_refused_where_its_column_is_asked_for(nothing: Any) -> None:
    table = Table({"text": ["a", nothing, "c"], "id": [0, 0, 0]}, "rows.jsonl")
    assert table.column("id", "label_column") == [0, 0, 0]
    with pytest.raises(WorldError, match="^text_column: rows.jsonl .* 'text', but row 2 is empty$"):
        table.column("text", "text_column")


def test_there_is_nothing_to_read_without_files_and_data_set() -> None:
    assert read_splits(Source()) is None
    assert read_splits(Source(retain_file="prose.txt", text_column="text")) is None


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


def test_saved_data_sets_give_the_rows_that_were_saved(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = datasets.Dataset.from_dict(ROWS)
    whole.with_format("numpy").save_to_disk(tmp_path / "one")
    parts = {"train": whole.select([4, 2, 0]), "dev": whole.select([1]), "test": whole.select([5])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "parts")
    (tmp_path / "files").mkdir()
    for name, part in parts.items():
        part.to_json(tmp_path / "files" / f"{name}.jsonl")
    capfd.readouterr()

    made = splits_of(Source(dataset=str(tmp_path / "one")))
    assert sorted(row for split in made.values() for row in split.columns["stars"]) == sorted(
        ROWS["stars"]
    )
    assert [len(split) for split in made.values()] == [4, 1, 1]
    for folder in ("parts", "files"):
        source = Source(dataset=str(tmp_path / folder))
        assert values_of(splits_of(source), "text") == {
            "train": ["#", "two\n\nlines", "plain"],
            "validation": ['a "quoted", word\t'],
            "test": ["{"],
        }
    assert capfd.readouterr() == ("", "")


def test_a_message_names_the_split_of_a_data_set(tmp_path: Path) -> None:
    part = datasets.Dataset.from_dict({"sentence": ["a"]})
    datasets.DatasetDict(train=part, valid=part, test=part).save_to_disk(tmp_path / "parts")
    table = splits_of(Source(dataset=str(tmp_path / "parts")))["validation"]
    with pytest.raises(WorldError) as raised:
        table.column("text", "text_column")
    assert str(raised.value) == (
        f"text_column: dataset {tmp_path / 'parts'}, split valid must have a column 'text', "
        "but has 'sentence'"
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "must have at least one row"),
        ("a.jsonl", b"", "must have at least one row"),
        ("a.parquet", b"", "must have at least one row"),
        ("a.csv", b"text,label\n", "must have at least one row"),
        ("a.csv", b"\n\n", "must have at least one row"),
        ("a.json", b"[]", "must have at least one row"),
        ("a.txt", b"\n \n\n", "must have at least one row"),
        ("a.txt", b"one\n\ntwo\n\n\xff", "a.txt, line 5: must be UTF-8, but byte 10 is 0xff"),
        ("a.csv", "text\nä\n".encode("latin-1"), "a.csv, line 2: must be UTF-8, but byte 5 is"),
        ("a.jsonl", '{"text": "x"}'.encode("utf-16"), "a.jsonl, line 1: must be UTF-8"),
        ("a.csv", b'a,b\n"x\ny",1\nx,1,2\n', "a.csv, line 4: must have 2 cells, as the header"),
        ("a.csv", b"a,b\nx,1\n\ny\n", "line 4: must have 2 cells, as the header does, but has 1"),
        ("a.csv", b'a,b\nx,1\n"y,1\nz,1\n', "begins in line 3 is broken: unexpected end of data"),
        ("a.csv", b"a,b,a\n1,2,3\n", "must name every column once"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": "x}\n', "a.jsonl, line 3: must be JSON"),
        ("a.json", b'[{"a": 1},\n{"a": 2},\n{"a" 3}]', "a.json, line 3: must be JSON"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "every row must be an object, but row 2 is [1]"),
        ("a.parquet", b"text,label\nx,y\n", "reading"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(
    name: str, content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(WorldError) as raised:
        read_table(name, "retain_file")
    assert str(raised.value).startswith("retain_file: ")
    assert name in str(raised.value)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "label", "message"),
    [
        (Source("absent.csv"), None, "train_file: must be a file that can be read, but got 'abs"),
        (Source("."), None, "train_file: must be a file that can be read, but got '.': Is a dir"),
        (Source("rows.csv", "absent.csv"), None, "validation_file: must be a file that can be"),
        (Source("rows.csv", dataset="saved"), None, "dataset: must not be given together with tr"),
        (Source(test_file="rows.csv"), None, "test_file: must come with train_file"),
        (Source(validation_file="rows.csv"), None, "validation_file: must come with train_file"),
        (Source("rows.csv"), "class", "label_column: rows.csv must have a column 'class', but has"),
        (Source("gap.jsonl"), "label", "label_column: gap.jsonl must have something in every row"),
        (Source("two.jsonl"), None, "train_file: two.jsonl must have at least 3 different rows"),
        (Source("two.jsonl"), None, "to make validation and test from, but has 2"),
        (Source("rows.csv"), "label", "3 different rows with the same 'label' to make validation"),
        (Source(dataset="test only"), None, "must have a split 'train', but has 'test'"),
        (Source(dataset="none"), None, "split train must have at least one row"),
        (Source(dataset="rows.csv"), None, "dataset: must be a folder or a Hugging Face id, but"),
        (Source(dataset="empty"), None, "dataset: loading 'empty' failed: EmptyDatasetError"),
        (Source(dataset="ragged"), None, "Expected 2 fields in line 3, saw 3"),
        (Source(dataset="no/such/folder"), None, "dataset: loading 'no/such/folder' failed: File"),
        (Source(dataset="someone/some-data"), None, "the Hugging Face hub can't be reached"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    source: Source,
    label: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # unreachable
    WRITERS["rows.csv"](Path("rows.csv"))
    write_lines(Path("two.jsonl"), ["a", "b", "b", "a"])
    Path("gap.jsonl").write_text('{"label": 1}\n{}\n{"label": null}\n')
    Path("empty").mkdir()
    Path("ragged").mkdir()
    Path("ragged/train.csv").write_text("a,b\n1,2\n1,2,3\n")
    part = datasets.Dataset.from_dict({"text": ["a"]})
    datasets.DatasetDict(test=part).save_to_disk("test only")
    part.filter(lambda row: False).save_to_disk("none")
    capfd.readouterr()
    with pytest.raises(WorldError) as raised:
        read_splits(source, label)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
