"""Templates that make texts of columns."""

import pytest

from hpopt_envs import WorldError
from hpopt_envs.data.tables import Table
from hpopt_envs.data.templates import fill


def test_templates_take_columns_and_what_is_in_them() -> None:
    table = Table({"a": ["x", "y"], "b": [{"k": {"l": 1}}, {"k": {"l": 2}}]}, "here")
    assert fill("{{{a}}}: {b[k][l]}!", table, "t") == ["{x}: 1!", "{y}: 2!"]
    answers = Table({"answers": [{"text": ["Paris", "France"]}]}, "here")
    assert fill("{answers[text][1]}", answers, "t") == ["France"]


@pytest.mark.parametrize("nothing", [None, "", [], float("nan")])
def test_an_empty_cell_beside_others_makes_nothing(nothing: object) -> None:
    table = Table({"do": ["add", "sum"], "to": [nothing, "1 2"]}, "here")
    assert fill("{do}\n{to}\n", table, "t") == ["add\n\n", "sum\n1 2\n"]
    assert fill("{do}: {to[text]}", Table({"do": ["x"], "to": [nothing]}, "here"), "t") == ["x: "]
    with pytest.raises(WorldError, match="must have a text in column 'to', but row 1 has"):
        fill("{to}{to}", table, "t")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{c}", "must have a column 'c', but has 'a', 'b', 'n', 'l'"),
        ("{b[no]}", "must have 'no' in column 'b', but row 1 has"),
        ("{a[k]}", "must have 'k' in column 'a', but row 1 has 'x'"),
        ("{b}", "must have a text in column 'b', but row 1 has"),
        ("{n[k]}", "must have a text at 'k' in column 'n', but row 1 has"),
        ("{l[1]}", "must have '1' in column 'l', but row 1 has"),
        ("{a.__class__}", "must have columns in braces"),
        ("{a!r}", "must have columns in braces"),
        ("{a:>5}", "must have columns in braces"),
        ("{}", "must have columns in braces"),
        ("{a", "must be a template"),
        ("nothing", "must have a column in braces"),
    ],
)
def test_other_templates_are_refused_in_one_line(template: str, said: str) -> None:
    table = Table({"a": ["x"], "b": [{"k": 1}], "n": [{"k": None}], "l": [["z"]]}, "here")
    with pytest.raises(WorldError, match=said) as caught:
        fill(template, table, "prompt_template")
    assert str(caught.value).startswith("prompt_template: ")
    assert "\n" not in str(caught.value)
