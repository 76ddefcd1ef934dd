"""Data sets of Hugging Face's: folders of files, saved ones, and those of the hub."""

import dataclasses
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import WorldError, foreign
from .tables import Table, is_readable, read_table, with_rows, without_gaps

SPLITS = {  # and what data sets call them
    "train": ("train",),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test",),
}
_SAVED = ("dataset_dict.json", "state.json")  # one is in every folder of `save_to_disk`
_NETWORK_TIMEOUT = 10.0  # seconds
# What every configuration says; another setting is about how its files are to be read.
_USUAL = {"name", "version", "data_dir", "data_files", "description", "features"}


def read_dataset(name: str, config: str | None) -> dict[str, Table]:
    """Read a data set, whose files are read as files are; other splits than `SPLITS` are left out.

    Args:
        name: of a folder or on the hub; "NAME:CONFIG" says both.
        config: one of its configurations; None where it has one alone.

    Raises:
        WorldError: it can't be read or reached, or has no split "train", or several configurations.
    """
    if Path(name).is_file():
        raise WorldError(f"dataset: must be a folder or a Hugging Face id, but {name!r} is a file")
    if config is None and ":" in name and not Path(name).exists():
        name, _, config = name.rpartition(":")
    with foreign(f"dataset: loading {name!r}"), _quiet(), TemporaryDirectory() as cache:
        loaded = _load(name, config, cache)
        if "train" not in loaded:
            raise WorldError(
                f"dataset: {name} must have a split 'train', but has {', '.join(map(repr, loaded))}"
            )
        return {
            split: with_rows(_table(loaded[key], f"dataset {name}, split {key}"), "dataset")
            for split, keys in SPLITS.items()
            for key in reversed(keys)  # the first of them that there is, wins
            if key in loaded
        }


def _table(loaded: Any, where: str) -> Table:
    """Return a split's rows, of a data set or of files."""
    if not isinstance(loaded, list):
        columns = without_gaps(loaded.to_dict())
        for name, feature in loaded.features.items():
            if type(feature).__name__ == "ClassLabel":  # whose -1 is no class
                columns[name] = [None if value == -1 else value for value in columns[name]]
        return Table(columns, where)
    tables = [read_table(file, "dataset") for file in loaded]
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(name for table in tables for name in table.columns)
    return Table(
        {name: [v for t in tables for v in t.columns.get(name, [None] * len(t))] for name in names},
        where,
    )


def _load(name: str, config: str | None, cache: str) -> Mapping[str, Any]:
    """Return each split as a `Dataset`, or as the paths of files that are read here."""
    import datasets  # type: ignore[import-untyped]
    from datasets.exceptions import DatasetGenerationError  # type: ignore[import-untyped]

    folder = Path(name)
    if any((folder / file).is_file() for file in _SAVED):
        if config is not None:
            raise WorldError(f"dataset_config: must be left out, since {name} is a saved data set")
        return _by_split(datasets.load_from_disk(name, keep_in_memory=True))
    try:
        if not folder.is_dir():
            _ask_hub(name)
            return _by_split(_from_hub(name, config))
        builder = datasets.load_dataset_builder(name, config, cache_dir=cache)
        _check_kinds(folder, builder.config)
        if (files := _plain_files(builder.config)) is not None:
            return files
        if hasattr(builder.config, "keep_default_na"):
            builder.config.keep_default_na = False  # "NA" is a text
        builder.download_and_prepare()
        return _by_split(builder.as_dataset(in_memory=True))
    except DatasetGenerationError as error:  # which says nothing but its cause
        raise error.__cause__ or error from None
    except ValueError:
        _check_config(name, config)
        raise


def _from_hub(name: str, config: str | None) -> Any:
    """Return a data set of the hub's, or what was loaded of it before; "NA" in CSV is a text."""
    import datasets

    text: dict[str, Any] = {"keep_default_na": False}
    if not datasets.config.HF_HUB_OFFLINE:
        found = datasets.load_dataset_builder(name, config).config
        return datasets.load_dataset(name, found.name, **(text if hasattr(found, *text) else {}))
    with suppress(ValueError):
        return datasets.load_dataset(name, config or "default", **text)
    return datasets.load_dataset(name, config)


def _by_split(loaded: Any) -> Mapping[str, Any]:
    return loaded if isinstance(loaded, dict) else {"train": loaded}


def _check_kinds(folder: Path, config: Any) -> None:
    """Make sure that the loader leaves no file of a split out: it takes one kind of files alone.

    Raises:
        WorldError: it does, and nothing in the folder says that it should.
    """
    taken = {Path(path).resolve() for paths in config.data_files.values() for path in paths}
    if (folder / "README.md").exists() or not taken:
        return
    splits = {name for names in SPLITS.values() for name in names}
    for path in sorted(folder.iterdir()):
        of_a_split = re.split(r"[^a-z]", path.name.lower())[0] in splits
        if of_a_split and is_readable(path.name) and path.is_file() and path.resolve() not in taken:
            raise WorldError(
                f"dataset: {folder} must have files of one kind, but has {path.name} beside "
                f"{min(path.name for path in taken)}"
            )


def _plain_files(config: Any) -> dict[str, list[str]] | None:
    """Return the files of each split; None where one can't be read here, or asks for more."""
    files = {str(split): list(map(str, paths)) for split, paths in config.data_files.items()}
    endings = {Path(path).suffix.lower() for paths in files.values() for path in paths}
    usual, own = type(config)(), dict[str, Any]()
    for field in dataclasses.fields(config):
        if getattr(config, field.name) != getattr(usual, field.name):
            own[field.name] = getattr(config, field.name)
    if endings == {".tsv"} and own.get("sep") == "\t":
        own = {key: value for key, value in own.items() if key not in ("sep", "delimiter")}
    here = all(Path(path).is_file() and is_readable(path) for ps in files.values() for path in ps)
    return files if here and set(own) <= _USUAL else None


def _check_config(name: str, config: str | None) -> None:
    """Make sure that one of the configurations of a data set is named, if there are several.

    Raises:
        WorldError: it isn't; with all of their names.
    """
    import datasets

    known: Sequence[str] = ()
    with suppress(Exception):
        known = datasets.get_dataset_config_names(name)
    if known and config not in known and (config is not None or len(known) > 1):
        raise WorldError(
            f"dataset_config: must be one of {', '.join(known)} for data set {name}, but got "
            f"{'none' if config is None else repr(config)}"
        )


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
    """Silence progress bars, logs and warnings of the libraries that load data sets."""
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
