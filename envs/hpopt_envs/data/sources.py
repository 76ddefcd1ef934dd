"""Where rows come from when the data is a user's own: files, or a data set of Hugging Face's."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import WorldError, foreign
from ..settings import Source
from .tables import Table, read_table, with_rows

_HELD_OUT = 0.1  # share of the rows in each split that is made
_SPLITS = {  # and what data sets call them
    "train": ("train",),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test",),
}
_SAVED = ("dataset_dict.json", "state.json")  # one is in every folder of `save_to_disk`
_NETWORK_TIMEOUT = 10.0  # seconds


def read_splits(source: Source, label: str | None = None) -> dict[str, Table] | None:
    """Read "train", "validation" and "test"; None where a source has neither files nor a dataset.

    Validation and test, where there are none, are a tenth of the rows of train each: the same ones
    every time, in order, and all rows that are equal in one split.

    Args:
        source: what the settings say.
        label: a column whose values are to be in all splits in equal shares, and at least once;
            rows of a value that has too few different ones stay in train.

    Raises:
        WorldError: settings contradict each other, something can't be read, or there are too few
            rows to make splits from.
    """
    files = {
        name: path for name in _SPLITS if (path := getattr(source, f"{name}_file")) is not None
    }
    if source.dataset is not None:
        if files:
            raise WorldError(f"dataset: must not be given together with {min(files)}_file")
        tables = _read_dataset(source.dataset)
    elif not files:
        _check_columns(source)
        return None
    elif "train" not in files:
        raise WorldError(f"{min(files)}_file: must come with train_file")
    else:
        tables = {name: read_table(path, f"{name}_file") for name, path in files.items()}
    if missing := [name for name in _SPLITS if name not in tables]:
        setting = "dataset" if source.dataset is not None else "train_file"
        tables |= make_splits(tables["train"], missing, label, setting)
    return tables


def _check_columns(source: Source) -> None:
    """Make sure that no column is named where there are no rows to have it."""
    named = [name for name in source.given if name.endswith(("_column", "_template"))]
    if named and not (named == ["text_column"] and source.retain_file):
        raise WorldError(f"{named[0]}: must come with train_file or dataset")


def read_retained(file: str) -> dict[str, Table]:
    """Read rows to be retained: "retained_train", "retained_validation" and "retained_test".

    Raises:
        WorldError: they can't be read, or there are too few to make splits from.
    """
    whole = read_table(file, "retain_file")
    made = make_splits(whole, ("validation", "test"), None, "retain_file")
    return {f"retained_{name}": table for name, table in made.items()}


def make_splits(
    table: Table, names: Sequence[str], label: str | None, setting: str
) -> dict[str, Table]:
    """Return splits of the given names, and train: the rest of a table.

    Args:
        table: what they are made of.
        names: of splits beside train, a tenth of the rows each.
        label: a column, see `read_splits`; None for none.
        setting: that named the table.

    Raises:
        WorldError: there are too few different rows.
    """
    labels = [""] * len(table) if label is None else table.column(label, "label_column")
    classes: dict[str, dict[str, list[int]]] = {}  # label -> content -> rows that are equal
    for row, content in enumerate(zip(*table.columns.values(), strict=True)):
        equal_rows = classes.setdefault(repr(labels[row]), {}).setdefault(repr(content), [])
        equal_rows.append(row)
    most = max(map(len, classes.values()))
    if most <= len(names):
        raise WorldError(
            f"{setting}: {table.where} must have at least {len(names) + 1} different rows "
            f"{'' if label is None else f'with the same {label!r} '}to make "
            f"{' and '.join(names)} from, but has {most}"
        )
    random_order = random.Random(0)
    splits: dict[str, list[int]] = {name: [] for name in ("train", *names)}
    for contents in classes.values():
        groups = list(contents.values())
        random_order.shuffle(groups)
        for group, name in zip(groups, _assign([len(g) for g in groups], names), strict=True):
            splits[name] += group
    return {name: table.take(sorted(rows)) for name, rows in splits.items()}


def _assign(sizes: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """For each group of a class, in random order, the split that it goes to.

    Each of the given names gets about a tenth of the rows and at least one group, if train then
    has one, too.
    """
    if len(sizes) <= len(names):
        room = dict.fromkeys(names, 0)
    else:  # as many groups as there are names fit, and as the least filled is next, one each
        room = dict.fromkeys(
            names, max(round(_HELD_OUT * sum(sizes)), sorted(sizes)[len(names) - 1])
        )
    for size in sizes:
        name = max(names, key=room.__getitem__)
        if size <= room[name]:
            room[name] -= size
            yield name
        else:
            yield "train"


def _read_dataset(name: str) -> dict[str, Table]:
    if Path(name).is_file():
        raise WorldError(f"dataset: must be a folder or a Hugging Face id, but {name!r} is a file")
    with foreign(f"dataset: loading {name!r}"), _quiet(), TemporaryDirectory() as cache:
        loaded = _load_dataset(name, cache)
        splits = loaded if isinstance(loaded, dict) else {"train": loaded}
        if "train" not in splits:
            raise WorldError(
                f"dataset: {name} must have a split 'train', but has {', '.join(map(repr, splits))}"
            )
        return {
            split: with_rows(
                Table(splits[key].to_dict(), f"dataset {name}, split {key}"), "dataset"
            )
            for split, keys in _SPLITS.items()
            for key in reversed(keys)  # the first of them that there is, wins
            if key in splits
        }


def _load_dataset(name: str, cache: str) -> Any:
    """Return a `Dataset` or a `DatasetDict`; local files are cached in a folder of ours."""
    import datasets  # type: ignore[import-untyped]
    from datasets.exceptions import DatasetGenerationError  # type: ignore[import-untyped]

    folder, options = Path(name), {}
    if any((folder / file).is_file() for file in _SAVED):
        return datasets.load_from_disk(name, keep_in_memory=True)
    if folder.is_dir():
        options = {"cache_dir": cache, "keep_in_memory": True}
    else:
        _ask_hub(name)
    try:
        return datasets.load_dataset(name, **options)
    except DatasetGenerationError as error:  # which says nothing but its cause
        raise error.__cause__ or error from None


def _ask_hub(name: str) -> None:
    """Ask once whether the hub is there: the loader would try for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        HfApi().dataset_info(name, timeout=_NETWORK_TIMEOUT)
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled):
        return  # the loader says what is wrong, or takes what it loaded before
    except Exception as error:
        raise WorldError(
            f"dataset: {name!r} is no folder here, and the Hugging Face hub can't be reached "
            f"({' '.join(str(error).split())}); HF_HUB_OFFLINE=1 takes what was loaded before"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences progress bars, logs and warnings of the libraries that load data sets."""
    import datasets
    import huggingface_hub.utils as hub

    logging = datasets.logging
    level = logging.get_verbosity()
    shown = [library for library in (datasets, hub) if not library.are_progress_bars_disabled()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity(logging.CRITICAL)
        for library in shown:
            library.disable_progress_bars()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            for library in shown:
                library.enable_progress_bars()
