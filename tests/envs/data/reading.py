"""Files of rows, and what is read of them."""

import json
from pathlib import Path
from typing import Any

from hpopt_envs.data.sources import read_splits
from hpopt_envs.data.tables import Table
from hpopt_envs.settings import Source


def write_lines(path: Path, values: list[Any]) -> str:
    path.write_text("\n".join(json.dumps({"value": value}) for value in values), "utf-8")
    return str(path)


def splits_of(source: Source, label: str | None = None) -> dict[str, Table]:
    tables = read_splits(source, label)
    assert tables is not None
    return tables


def values_of(tables: dict[str, Table], name: str = "value") -> dict[str, list[Any]]:
    return {split: table.column(name, "text_column") for split, table in tables.items()}
