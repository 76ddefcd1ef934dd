import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

from hpopt_envs.data.sources import read_splits
from hpopt_envs.data.tables import Table, read_table
from hpopt_envs.errors import WorldError
from hpopt_envs.settings import Source
from tests.envs.data.reading import splits_of, values_of, write_lines

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
    "old-mac.jsonl": lambda path: path.write_text(
        FRAME.to_json(orient="records", lines=True).replace("\n", "\r"), newline=""
    ),
    "rows.ndjson": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "rows.parquet": lambda path: FRAME.to_parquet(path, row_group_size=2),
}


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


@pytest.mark.parametrize("nothing", [None, "", " \n", [], float("nan")])
def test_a_row_with_nothing_in_it_is_refused_where_its_column_is_asked_for(nothing: Any) -> None:
    table = Table({"text": ["a", nothing, "c"], "id": [0, 0, 0]}, "rows.jsonl")
    assert table.column("id", "label_column") == [0, 0, 0]
    with pytest.raises(WorldError, match="^text_column: rows.jsonl .* 'text', but row 2 is empty$"):
        table.column("text", "text_column")


@pytest.mark.parametrize(("shared", "said"), [(20, True), (5, True), (0, False)])
def test_a_split_whose_rows_are_in_train_too_is_told_of(
    shared: int, said: bool, tmp_path: Path
) -> None:
    train = write_lines(tmp_path / "train.jsonl", [f"{i}" for i in range(40)])
    given = [f"{i + 40 - shared}" for i in range(20)]
    validation = write_lines(tmp_path / "validation.jsonl", given)
    splits = splits_of(Source(train, validation, text_column="value"))
    note = f"{shared} of the 20 rows of {validation} are in train, too"
    assert splits["validation"].note == (note if said else "")
    assert len(splits["validation"]) == 20


def test_there_is_nothing_to_read_without_files_and_data_set() -> None:
    assert read_splits(Source()) is None
    assert read_splits(Source(retain_file="prose.txt", text_column="text")) is None


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
        ("a.jsonl", b'{"a": 1}\n{"a": ' + b"1" * 5000 + b"}", "a.jsonl, line 2: must be JSON that"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000, "a.jsonl, line 1: must be JSON that can be read"),
        (
            "a.jsonl",
            b'{"a": "x"}\n{"a": "\\ud83d b"}\n',
            "line 2: must have whole characters, but ha",
        ),
        (
            "a.json",
            b'[{"a": "x"},\n{"b": [{"a": "\\uDE00"}]}]',
            "row 2: must have whole characters",
        ),
        (
            "a.jsonl",
            b'{"\\udc00": "x"}\n',
            "line 1: must have whole characters, but has half of one",
        ),
        ("a.txt", b'\n{"a": 1}\n{"a": 2}\n', "must be text, but begins with a JSON object"),
        ("a.md", b'[\n {"a": 1}\n]', "must be text, but begins with a JSON object"),
        ("a.jsonl.gz", b"\x1f\x8b", "must end in one of .csv, "),
        ("a.dat", b"a,b\n1,2\n", "must end in one of .csv, "),
        ("a.csv", "a,b\n1,2\n".encode("utf-16-le"), "a.csv, line 1: must be text in UTF-8, but"),
        ("a.txt", b"one\n\ntwo\n\0\0", "a.txt, line 4: must be text in UTF-8, but has a null"),
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
        (Source("rows.csv", dataset_config="en"), None, "dataset_config: must come with dataset"),
        (Source(dataset="ragged"), None, "train.csv, line 3: must have 2 cells"),
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
