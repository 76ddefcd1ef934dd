"""Where rows come from when the data is a user's own: files, or a data set of Hugging Face's."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import WorldError
from ..settings import Source
from .chats import shown
from .dataset import SPLITS, read_dataset
from .labels import is_answered, name_classes
from .tables import Table, read_table

_HELD_OUT = 0.1  # share of the rows in each split that is made
_SHARED = 0.05  # share of a split's rows that are in train, too, from which on it is said

Used = Callable[[Table], Sequence[Sequence[Any]]]  # what a task reads of a table, by columns


def text_columns(source: Source, table: Table) -> list[str]:
    """Return the columns of texts: one, or two where the setting has a comma."""
    name = source.text_column or "text"
    return [name] if name in table.columns else [part.strip() for part in name.split(",")]


def read_splits(
    source: Source,
    label: str | None = None,
    used: Used | None = None,
    answer: str | None = None,
) -> dict[str, Table] | None:
    """Read "train", "validation" and "test"; None where a source has neither files nor a dataset.

    Validation and test, where there are none, are a tenth of the rows of train each: the same ones
    every time, in order, and all rows that are equal in what is used in one split. So it is with
    splits that keep their labels or answers secret.

    Args:
        source: what the settings say.
        label: a column of classes that are to be in all splits in equal shares, and at least once;
            rows of a class that has too few different ones stay in train.
        used: what rows must differ in to be different; by default the columns of texts, where
            there are any, else all.
        answer: a column that rows are of no use without; by default that of labels.

    Raises:
        WorldError: settings contradict each other, something can't be read, or there are too few
            rows to make splits from.
    """
    files = {name: path for name in SPLITS if (path := getattr(source, f"{name}_file")) is not None}
    if source.dataset is not None:
        if files:
            raise WorldError(f"dataset: must not be given together with {min(files)}_file")
        tables = read_dataset(source.dataset, source.dataset_config)
    elif source.dataset_config is not None:
        raise WorldError("dataset_config: must come with dataset")
    elif not files:
        _check_columns(source)
        return None
    elif "train" not in files:
        raise WorldError(f"{min(files)}_file: must come with train_file")
    else:
        tables = {name: read_table(path, f"{name}_file") for name, path in files.items()}
    if label is not None:
        tables = {name: name_classes(table, label) for name, table in tables.items()}
    answered = _answered(tables, answer or label)
    used = used or _texts_of(source)
    told = {name: _compared(table, answered["train"], used) for name, table in answered.items()}
    if missing := [name for name in SPLITS if name not in answered]:
        setting = "dataset" if source.dataset is not None else "train_file"
        train = tables["train"]
        made = make_splits(train, missing, label, setting, used(train))
        told |= {name: _noted(name, made[name], tables, answer or label) for name in made}
    return {name: told[name] for name in SPLITS}


def notes_of(tables: Mapping[str, Table] | None) -> tuple[str, ...]:
    """Return what a user should be told of where splits are from."""
    return tuple(table.note for table in (tables or {}).values() if table.note)


def columns_of(names: Callable[[Source, Table], Sequence[str]], source: Source) -> Used:
    """Return what a task that reads whole columns uses; all of them where one is missing."""

    def used(table: Table) -> Sequence[Sequence[Any]]:
        asked = names(source, table)
        there = set(asked) <= set(table.columns)
        return [table.columns[name] for name in (asked if there else table.columns)]

    return used


def _texts_of(source: Source) -> Used:
    return columns_of(text_columns, source)


def _answered(tables: dict[str, Table], column: str | None) -> dict[str, Table]:
    """Return train, and those of the others that don't keep what is in a column secret."""
    train = tables["train"]
    if column is None or not is_answered(train, train, column):
        return dict(tables)
    return {name: t for name, t in tables.items() if t is train or is_answered(t, train, column)}


def _compared(table: Table, train: Table, used: Used) -> Table:
    """Return a split that was given, with a note where much of it is in train, too."""
    if table is train:
        return table
    known = set(_contents(used(train)))
    shared = sum(content in known for content in _contents(used(table)))
    if shared < _SHARED * len(table):
        return table
    return replace(
        table, note=f"{shared:,} of the {len(table):,} rows of {table.where} are in train, too"
    )


def _contents(used: Sequence[Sequence[Any]]) -> list[str]:
    """Return a text for each row, equal where rows are."""
    return [repr([shown(value) for value in content]) for content in zip(*used, strict=True)]


def _noted(name: str, made: Table, given: dict[str, Table], column: str | None) -> Table:
    if name == "train" or name not in given:
        return made
    note = (
        f"{given[name].where} has no answers in column {column!r}: {name} is made of {made.where}"
    )
    return replace(made, note=note)


def _check_columns(source: Source) -> None:
    """Make sure that no column is named where there are no rows to have it."""
    named = [name for name in source.given if name.endswith(("_column", "_template", "_kwargs"))]
    if named and not (named == ["text_column"] and source.retain_file):
        raise WorldError(f"{named[0]}: must come with train_file or dataset")


def read_retained(file: str, used: Used) -> dict[str, Table]:
    """Read rows to be retained: "retained_train", "retained_validation" and "retained_test".

    Args:
        file: its path.
        used: see `read_splits`.

    Raises:
        WorldError: they can't be read, or there are too few to make splits from.
    """
    whole = read_table(file, "retain_file")
    made = make_splits(whole, ("validation", "test"), None, "retain_file", used(whole))
    return {f"retained_{name}": table for name, table in made.items()}


def make_splits(
    table: Table,
    names: Sequence[str],
    label: str | None,
    setting: str,
    used: Sequence[Sequence[Any]],
) -> dict[str, Table]:
    """Return splits of the given names, and train: the rest of a table.

    Args:
        table: what they are made of.
        names: of splits beside train, a tenth of the rows each.
        label: a column, see `read_splits`; None for none.
        setting: that named the table.
        used: columns that rows must differ in to be different; all of the table's where there is
            none.

    Raises:
        WorldError: there are too few different rows.
    """
    labels = [""] * len(table) if label is None else table.column(label, "label_column")
    equal: dict[str, list[int]] = {}  # content -> rows
    for row, content in enumerate(_contents(used or list(table.columns.values()))):
        equal.setdefault(content, []).append(row)
    classes: dict[str, list[list[int]]] = {}  # label -> groups of equal rows
    contradictory = []  # of several labels
    for rows in equal.values():
        if len({labels[row] for row in rows}) == 1:
            classes.setdefault(labels[rows[0]], []).append(rows)
        else:
            contradictory += rows
    most = max(map(len, classes.values()), default=0)
    if most <= len(names):
        raise WorldError(
            f"{setting}: {table.where} must have at least {len(names) + 1} different rows "
            f"{'' if label is None else f'with the same {label!r} '}to make "
            f"{' and '.join(names)} from, but has {most}"
        )
    random_order = random.Random(0)
    splits: dict[str, list[int]] = {name: [] for name in ("train", *names)}
    splits["train"] += contradictory
    for groups in classes.values():
        random_order.shuffle(groups)
        for group, name in zip(groups, _assign([len(g) for g in groups], names), strict=True):
            splits[name] += group
    return {name: table.take(sorted(rows)) for name, rows in splits.items()}


def _assign(sizes: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """Yield the split that each group of a class goes to, groups in random order.

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
