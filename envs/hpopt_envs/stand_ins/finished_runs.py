"""Finished runs in a table: a task that somebody else has paid for.

A CSV file has a column `task`, a column for each hyperparameter, columns of values and, where runs
were measured on their way, a column `checkpoint`. A row is a run at its end, or at a checkpoint.
"""

import csv
import hashlib
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hpopt_search_spaces import Value, nearest_names

from ..errors import WorldError
from ..worlds import TABLE_PREFIX

FOLDER = "HPOPT_TABLES"  # names a folder of tables
TASK, CHECKPOINT = "task", "checkpoint"
# Columns that are known to be values, and whether more of them is better.
METRICS = {
    "loss": False,
    "perplexity": False,
    "train_loss": False,
    "validation_loss": False,
    "test_loss": False,
    "bits_per_byte": False,
    "error": False,
    "error_rate": False,
    "mse": False,
    "rmse": False,
    "mae": False,
    "wer": False,
    "ter": False,
    "divergence": False,
    "forgetting": False,
    "seconds": False,
    "flops": False,
    "accuracy": True,
    "bleu": True,
    "f1": True,
    "auc": True,
    "mcc": True,
    "exact_match": True,
    "chrf": True,
    "comet": True,
    "rouge1": True,
    "rouge2": True,
    "rougeL": True,
    "reward": True,
}
OBJECTIVES = ("loss", "perplexity", "accuracy", "bleu")  # the first that is there, unasked

Cell = tuple[Value, ...]  # a value of each hyperparameter


@dataclass(frozen=True)
class Checkpoint:
    """What a run came to on its way, or at its end.

    Attributes:
        number: of the task's checkpoints, from 1.
        metrics: by column.
        objective: as minimised; NaN or infinite where training had exploded.
    """

    number: int
    metrics: Mapping[str, float]
    objective: float


@dataclass(frozen=True)
class FinishedRuns:
    """The runs of one task.

    Attributes:
        name: "table:FILE.csv:TASK".
        task: of the table.
        objective: the column that it is made of.
        maximize: whether more of it is better.
        facts: columns that are the same in all of the task's rows.
        grid: the values of each hyperparameter in ascending order, by column.
        anywhere: the same, of all tasks of the table.
        runs: checkpoints of each run, in order, by its values in the order of `grid`.
        checkpoints: of the task: those of a run that was trained to the end.
        hash: sha256 of the file.
    """

    name: str
    task: str
    objective: str
    maximize: bool
    facts: Mapping[str, Value]
    grid: Mapping[str, tuple[Value, ...]]
    anywhere: Mapping[str, tuple[Value, ...]]
    runs: Mapping[Cell, tuple[Checkpoint, ...]]
    checkpoints: int
    hash: str

    @cached_property
    def ends(self) -> list[Checkpoint]:
        """The last checkpoint of every run that didn't explode; there is at least one."""
        ends = (run[-1] for run in self.runs.values())
        return [end for end in ends if math.isfinite(end.objective)]


@dataclass(frozen=True)
class _Table:
    """Rows of a file, each with the number of its line."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    hash: str

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(row[TASK] for _, row in self.rows))


def tasks_of(file: str) -> list[str]:
    """Return the tasks of a table, in the order of its rows.

    Args:
        file: a CSV file, looked for as `read_runs` does.

    Raises:
        WorldError: there is no such table.
    """
    return _read_table(file).tasks


def named_tasks(name: str) -> list[str]:
    """Return the names of all tasks that "table:FILE.csv" stands for; others stand for themselves.

    Raises:
        WorldError: there is no such table.
    """
    file = name.removeprefix(TABLE_PREFIX)
    return [f"{name}:{task}" for task in tasks_of(file)] if file.endswith(".csv") else [name]


def read_runs(name: str, objective: str | None = None) -> FinishedRuns:
    """Read the runs of a task.

    Args:
        name: "table:FILE.csv", or "table:FILE.csv:TASK" where the file has several tasks. FILE is
            looked for in the working directory, then in the folder that HPOPT_TABLES names.
        objective: "COLUMN", "COLUMN:min" or "COLUMN:max"; the first of `OBJECTIVES` where None.

    Raises:
        WorldError: one line, where there is no such table or task, or it isn't what it must be.
    """
    matched = re.fullmatch(re.escape(TABLE_PREFIX) + r"(.+?\.csv)(?::(.+))?", name)
    if matched is None:
        raise WorldError(f"task: must be table:FILE.csv or table:FILE.csv:TASK, but got {name!r}")
    table = _read_table(matched[1])
    task = _task(table, matched[2])
    metric, maximize = _objective(table, objective)
    values = [c for c in table.columns if c == metric or c in METRICS]
    others = [c for c in table.columns if c not in (TASK, CHECKPOINT, *values)]
    everywhere = {c: _parsed([row[c] for _, row in table.rows]) for c in others}
    here = [index for index, (_, row) in enumerate(table.rows) if row[TASK] == task]
    rows = [table.rows[index] for index in here]
    columns = {c: [everywhere[c][index] for index in here] for c in others}
    varying = [c for c in others if len(set(columns[c])) > 1]
    if not varying:
        raise WorldError(f"{table.file}: some hyperparameter must vary in {task!r}, but none does")
    for column in varying:
        if "" in columns[column]:
            line = rows[columns[column].index("")][0]
            raise WorldError(f"{table.file}: line {line} must have a value of {column}")
    cells: list[Cell] = list(zip(*(columns[c] for c in varying), strict=True))
    runs, checkpoints = _runs(table.file, rows, cells, values, metric, maximize)
    found = FinishedRuns(
        name=f"{TABLE_PREFIX}{Path(table.file).name}:{task}",
        task=task,
        objective=metric,
        maximize=maximize,
        facts={c: columns[c][0] for c in others if c not in varying},
        grid={c: _sorted_set(columns[c]) for c in varying},
        anywhere={c: _sorted_set(v for v in everywhere[c] if v != "") for c in varying},
        runs=runs,
        checkpoints=checkpoints,
        hash=table.hash,
    )
    if not found.ends:
        raise WorldError(f"{table.file}: a run of {task!r} must end with a {metric}, but none does")
    return found


def _read_table(file: str) -> _Table:
    folder = os.environ.get(FOLDER)
    places = [Path(file), *([Path(folder) / file] if folder else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        where = folder or f"a folder that {FOLDER} names, which isn't set"
        raise WorldError(f"task: there is no {file!r} in the working directory or in {where}")
    try:
        content = path.read_bytes()
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = tuple((reader.line_num, row) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorldError(f"{file}: must be a CSV file in UTF-8, but got: {error}") from None
    columns = tuple(reader.fieldnames or ())
    if TASK not in columns or len(set(columns)) < len(columns) or not rows:
        raise WorldError(
            f"{file}: must have rows and different columns, {TASK!r} among them, but has "
            f"{len(rows)} rows of {', '.join(columns) or 'nothing'}"
        )
    for name in columns:
        if not name.isidentifier():
            raise WorldError(f"{file}: a column's name must be an identifier, but got {name!r}")
    for line, row in rows:
        if None in row or None in row.values():
            raise WorldError(
                f"{file}: line {line} must have {len(columns)} cells, as the first has"
            )
    return _Table(file, columns, rows, hashlib.sha256(content).hexdigest())


def _task(table: _Table, task: str | None) -> str:
    tasks = table.tasks
    if task in tasks:
        return task
    if task is not None:
        near = nearest_names(task, tasks)
        raise WorldError(f"task: {table.file} has no task {task!r} ({near})")
    if len(tasks) == 1:
        return tasks[0]
    first = ", ".join(tasks[:3]) + (", ..." if len(tasks) > 3 else "")
    raise WorldError(
        f"task: {table.file} has {len(tasks)} tasks ({first}), so name one: "
        f"{TABLE_PREFIX}{table.file}:{tasks[0]}"
    )


def _objective(table: _Table, asked: str | None) -> tuple[str, bool]:
    """Return the objective's column, and whether more of it is better."""
    if asked is None:
        for name in OBJECTIVES:
            if name in table.columns:
                return name, METRICS[name]
        known = ", ".join(OBJECTIVES)
        raise WorldError(f"objective: {table.file} has none of {known}, so name its column")
    name, _, direction = asked.partition(":")
    if direction not in ("", "min", "max"):
        raise WorldError(f"objective: must be COLUMN, COLUMN:min or COLUMN:max, got {asked!r}")
    if name not in table.columns or name in (TASK, CHECKPOINT):
        near = nearest_names(name, [c for c in table.columns if c not in (TASK, CHECKPOINT)])
        raise WorldError(f"objective: {table.file} has no column {name!r} ({near})")
    if not direction and name not in METRICS:
        raise WorldError(f"objective: must be {name}:min or {name}:max, but got {asked!r}")
    return name, direction == "max" if direction else METRICS[name]


def _parsed(texts: Sequence[str]) -> list[Value]:
    """Return whole numbers, else numbers, else texts: the first that all of them are, but ""."""
    kinds: tuple[Callable[[str], int | float], ...] = (int, float)
    for kind in kinds:
        with suppress(ValueError, OverflowError):
            numbers = [kind(text) if text else "" for text in texts]
            if all(number == "" or math.isfinite(float(number)) for number in numbers):
                return list(numbers)
    return list(texts)


def _sorted_set(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(sorted(set(values)))


def _number(file: str, line: int, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise WorldError(
            f"{file}: line {line} must have a number as {column}, but has {text!r}"
        ) from None


def _runs(
    file: str,
    rows: Sequence[tuple[int, Mapping[str, str]]],
    cells: Sequence[Cell],
    values: Sequence[str],
    objective: str,
    maximize: bool,
) -> tuple[dict[Cell, tuple[Checkpoint, ...]], int]:
    """Return each run's checkpoints, and how many the task has; rows without objective are none."""
    measured: dict[Cell, dict[float, dict[str, float]]] = {}
    for (line, row), cell in zip(rows, cells, strict=True):
        if not row[objective]:
            continue
        mark = _number(file, line, CHECKPOINT, row[CHECKPOINT]) if CHECKPOINT in row else 1.0
        run = measured.setdefault(cell, {})
        if mark in run:
            raise WorldError(f"{file}: line {line} must be another run than an earlier line's")
        run[mark] = {c: _number(file, line, c, row[c]) for c in values if row[c]}
    marks = sorted({mark for run in measured.values() for mark in run})
    number = {mark: index for index, mark in enumerate(marks, start=1)}
    sign = -1.0 if maximize else 1.0
    runs = {
        cell: tuple(Checkpoint(number[m], run[m], sign * run[m][objective]) for m in sorted(run))
        for cell, run in measured.items()
    }
    return runs, len(marks)
