"""What is wrong with a table of finished runs, or with what is asked of it, in one line."""

from collections.abc import Mapping
from typing import Any

import pytest

from hpopt_envs import WorldError, make_env
from hpopt_search_spaces import FloatParameter, IntegerParameter, SearchSpace
from tests.envs.stand_ins.tables import Write

BROKEN = {
    "empty.csv": "",
    "columns.csv": "a,loss\n1,2\n",
    "ragged.csv": "task,a,loss\nt,1,2\nt,2\n",
    "long.csv": "task,a,loss\nt,1,2,3\n",
    "named.csv": "task,learning rate,loss\nt,1,2\n",
    "hole.csv": "task,a,loss\nt,1,2\nt,,2\n",
    "text.csv": "task,a,loss\nt,1,2\nt,2,low\n",
    "twice.csv": "task,a,loss\nt,1,2\nt,2,2\nt,1.0,3\n",
    "one.csv": "task,a,loss\nt,1,2\n",
    "exploded.csv": "task,a,loss\nt,1,nan\nt,2,nan\n",
    "unknown.csv": "task,a,goodness\nt,1,2\nt,2,3\n",
}
DYNAMIC = FloatParameter("learning_rate", 1e-4, 1e-3, 1e-4, log=True, dynamic=True)
SIZE = IntegerParameter("batch_size", 8, 64, 8, powers_of_two=True)
OFF = FloatParameter("learning_rate", 3e-4, 4e-4, 3e-4)
MISTAKES: list[tuple[str, Mapping[str, Any], str]] = [
    ("rows.csv", {}, "rows.csv has 2 tasks (small, large), so name one: table:rows.csv:small"),
    ("rows.csv:smal", {}, "rows.csv has no task 'smal' (nearest: small)"),
    ("rows", {}, "must be table:FILE.csv or table:FILE.csv:TASK"),
    ("empty.csv", {}, "must have rows and different columns, 'task' among them, but has 0 rows"),
    ("columns.csv", {}, "must have rows and different columns, 'task' among them"),
    ("ragged.csv", {}, "line 3 must have 3 cells"),
    ("long.csv", {}, "line 2 must have 3 cells"),
    ("named.csv", {}, "a column's name must be an identifier, but got 'learning rate'"),
    ("hole.csv", {}, "line 3 must have a value of a"),
    ("text.csv", {}, "line 3 must have a number as loss, but has 'low'"),
    ("twice.csv", {}, "line 4 must be another run than an earlier line's"),
    ("one.csv", {}, "some hyperparameter must vary in 't'"),
    ("exploded.csv", {}, "a run of 't' must end with a loss"),
    ("unknown.csv", {}, "has none of loss, perplexity, accuracy, bleu"),
    ("unknown.csv", {"objective": "goodness"}, "must be goodness:min or goodness:max"),
    ("unknown.csv", {"objective": "goodnes:max"}, "has no column 'goodnes' (nearest: goodness)"),
    ("rows.csv:small", {"objective": "loss:up"}, "must be COLUMN, COLUMN:min or COLUMN:max"),
    ("rows.csv:small", {"displacement": 1.0}, "displacement: must be left out for a table of"),
    (
        "rows.csv:small",
        {"space": "default"},
        "must have the table's hyperparameters, learning_rate",
    ),
    (
        "rows.csv:small",
        {"space": SearchSpace("own", (DYNAMIC, SIZE)).to_dict()},
        "learning_rate must be neither dynamic nor",
    ),
    (
        "rows.csv:small",
        {"space": SearchSpace("own", (OFF, SIZE)).to_dict()},
        "learning_rate must be among the table's values: 0.0001, 0.0002, 0.001",
    ),
    ("rows.csv:small", {"baseline": {"batch_size": 7}}, "baseline: batch_size: "),
    *[
        ("rows.csv:small", {name: value}, f"{name}: must be left out for a table of finished runs")
        for name, value in (
            ("model", "gpt2"),
            ("sequence_length", 8),
            ("segment_tokens", 8),
            ("trial_tokens", 8),
            ("forgetting_weight", 0.5),
            ("max_divergence", 1.0),
        )
    ],
    ("rows.csv:small", {"data": {"train_file": "a.txt"}}, "train_file: must be left out"),
    ("rows.csv:small", {"fixed": {"batch_size": 8}}, "fix: must be left out"),
]


@pytest.mark.parametrize(("table", "settings", "said"), MISTAKES)
def test_a_mistake_is_answered_in_one_line(
    table: str, settings: Mapping[str, Any], said: str, write: Write
) -> None:
    for name, text in BROKEN.items():
        write(name, text)
    with pytest.raises(WorldError) as raised:
        make_env(f"table:{table}", **settings)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
