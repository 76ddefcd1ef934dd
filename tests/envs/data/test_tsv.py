"""Files of tabs: some quote cells as CSV does, in others a quote is part of the text."""

from pathlib import Path
from typing import Any

import pandas
import pytest

from hpopt_envs.data.tables import read_table

PLAIN = {
    "a quote that begins a cell": ['"river stone', "lamp", "x"],
    "a quote that ends one": ["river", 'lamp green"', "x"],
    "both, in two rows": ['"river stone', 'lamp green"', "x"],
    "both, far apart": ['"river stone', "x", 'lamp green"'],
    "a title": ["river", '"lamp green"', "x"],
    "said in the middle": ['"river" stone', "x", "y"],
    "inches": ['5" pipe', '6" pipe', "x"],
}
QUOTED = ["a\ttab", 'a "quote"', "two\nlines", '"', "plain"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("texts", PLAIN.values(), ids=PLAIN)
def test_a_quote_that_no_writer_puts_there_is_part_of_the_text(
    texts: list[str], end: str, tmp_path: Path
) -> None:
    lines = ["text\tlabel", *(f"{text}\t{i}" for i, text in enumerate(texts))]
    (tmp_path / "rows.tsv").write_bytes((end.join(lines) + end).encode())
    table = read_table(str(tmp_path / "rows.tsv"), "train_file")
    assert table.columns == {"text": texts, "label": [0, 1, 2]}


@pytest.mark.parametrize("quoting", [0, 1, 2])  # what needs it, all, all text
@pytest.mark.parametrize("columns", [["text", "label"], ["label", "text"], ["text"]])
def test_quotes_of_a_writer_are_none_of_the_text(
    quoting: Any, columns: list[str], tmp_path: Path
) -> None:
    rows = {"text": QUOTED, "label": list(range(len(QUOTED)))}
    frame = pandas.DataFrame({name: rows[name] for name in columns})
    frame.to_csv(tmp_path / "rows.tsv", sep="\t", index=False, quoting=quoting)
    table = read_table(str(tmp_path / "rows.tsv"), "train_file")
    assert table.columns == {name: rows[name] for name in columns}
