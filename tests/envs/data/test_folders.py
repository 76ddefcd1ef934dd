"""Data sets that are folders of files: read as files are."""

import gzip
from pathlib import Path

import huggingface_hub.constants
import pytest

from hpopt_envs.data import dataset
from hpopt_envs.data.tables import read_table
from hpopt_envs.errors import WorldError
from hpopt_envs.settings import Source
from tests.envs.data.reading import splits_of

CELLS = ["NA", "null", "nan", "007", "1.50", "None"]
CSV = "text,label\n" + "".join(f"t{i},{CELLS[i % 6]}\n" for i in range(60))
LANGUAGES = ("en", "nl")


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A folder with two configurations."""
    said = "".join(f"- config_name: {x}\n  data_files: {x}.csv\n" for x in LANGUAGES)
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{said}---\n")
    for name in LANGUAGES:
        (tmp_path / f"{name}.csv").write_text(CSV.replace("\nt", f"\n{name} "))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", CSV),
        ("train.tsv", 'text\tlabel\n"a b\tx\nc d"\ty\ne\tx\n'),
        ("train.ndjson", '{"text": "a", "label": 1}\n' * 3),
        ("train.txt", "a paragraph\nof two lines\n\nand another\n\nand one more\n"),
    ],
)
def test_a_folder_and_its_file_mean_the_same_rows(name: str, content: str, tmp_path: Path) -> None:
    for file in (name, name.replace("train", "dev"), name.replace("train", "test")):
        (tmp_path / file).write_text(content)
    expected = read_table(str(tmp_path / name), "train_file").columns
    splits = splits_of(Source(dataset=str(tmp_path)))
    assert {split: table.columns for split, table in splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), expected
    )


def test_parts_of_a_split_are_read_in_order(tmp_path: Path) -> None:
    lines = CSV.splitlines()
    for number, part in enumerate((lines[1:40], lines[40:])):
        text = "\n".join([lines[0], *part])
        for split in ("train", "test"):
            (tmp_path / f"{split}-0000{number}-of-00002.csv").write_text(text)
    splits = splits_of(Source(dataset=str(tmp_path)))
    assert splits["test"].columns["label"] == CELLS * 10


def test_what_is_read_elsewhere_keeps_its_cells_too(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    splits = splits_of(Source(dataset=str(tmp_path)))
    assert splits["test"].columns["label"][:3] == CELLS[:3]


def test_files_of_a_split_that_would_be_left_out_are_named(tmp_path: Path) -> None:
    (tmp_path / "train-1.csv").write_text(CSV)
    (tmp_path / "labels.json").write_text("{}")
    assert len(splits_of(Source(dataset=str(tmp_path)))["train"]) == 48
    (tmp_path / "train-2.jsonl").write_text('{"text": "a", "label": "x"}\n' * 20)
    with pytest.raises(WorldError) as raised:
        splits_of(Source(dataset=str(tmp_path)))
    said = f"dataset: {tmp_path} must have files of one kind, but has train-1.csv beside train-2.js"
    assert str(raised.value).startswith(said)


def test_how_its_owner_says_that_files_are_read_holds(tmp_path: Path) -> None:
    head = '---\nconfigs:\n- config_name: default\n  data_files: rows.csv\n  sep: ";"\n---\n'
    (tmp_path / "README.md").write_text(head)
    (tmp_path / "rows.csv").write_text(CSV.replace(",", ";"))
    assert set(splits_of(Source(dataset=str(tmp_path)))["train"].columns) == {"text", "label"}


def test_what_was_loaded_of_the_hub_keeps_its_cells_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets  # type: ignore[import-untyped]

    (tmp_path / "hub" / "rows").mkdir(parents=True)
    (tmp_path / "hub" / "rows" / "train.csv").write_text(CSV)
    monkeypatch.chdir(tmp_path / "hub")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    online = dataset._from_hub("rows", None)  # a folder stands in for the hub
    assert online["train"].to_dict()["label"] == CELLS * 10
    monkeypatch.chdir(tmp_path)
    for library in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(library, "HF_HUB_OFFLINE", True)
    assert dataset.read_dataset("rows", None)["train"].columns["label"] == CELLS * 10


def test_one_of_several_configurations_is_named(several: Path) -> None:
    for source in (
        Source(dataset=str(several), dataset_config="nl"),
        Source(dataset=f"{several}:nl"),
    ):
        texts = splits_of(source)["train"].columns["text"]
        assert all(text.startswith("nl ") for text in texts)


@pytest.mark.parametrize(("config", "got"), [(None, "none"), ("de", "'de'")])
def test_the_configurations_are_listed(several: Path, config: str | None, got: str) -> None:
    with pytest.raises(WorldError) as raised:
        splits_of(Source(dataset=str(several), dataset_config=config))
    said = f"dataset_config: must be one of en, nl for data set {several}, but got {got}"
    assert str(raised.value) == said
