"""Search spaces in TOML files."""

from pathlib import Path

import pytest

from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    SpaceError,
    available_spaces,
    load_space,
)

RATE = '[parameters.learning_rate]\ntype = "float"\n'
BATCH = '[parameters.batch_size]\ntype = "integer"\n'
FIXABLE = RATE + "low = 0.1\nhigh = 1\ndefault = 1\n"
SHAPE = '[parameters.shape]\ntype = "choice"\n'


def test_the_shipped_spaces():
    spaces = {name: load_space(name) for name, _ in available_spaces()}
    assert spaces["default"].names == ("learning_rate", "batch_size", "divergence_weight")
    assert spaces["full"].names[:3] == spaces["default"].names
    assert spaces["full"].names[3:] == (
        "optimizer",
        "weight_decay",
        "warmup_fraction",
        "schedule_shape",
        "dropout",
    )
    assert all(spaces["default"].dynamic)
    assert not any(spaces["full"].dynamic[3:])
    for _, description in available_spaces():
        assert description
        assert "\n" not in description


def test_a_file_of_ones_own(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'description = "mine"\n'
        "[parameters.rate]\ntype = 'float'\nlow = 1e-5\nhigh = 1\ndefault = 0.1\nlog = true\n"
        "[parameters.rank]\ntype = 'integer'\nlow = 1\nhigh = 9\ndefault = 4\ndynamic = true\n"
        "[parameters.shape]\ntype = 'choice'\nchoices = ['a', 'b']\ndefault = 'a'\n"
        "active_when = { rank = [4, 8] }\n"
    )
    assert load_space(file) == SearchSpace(
        "mine",
        (
            FloatParameter("rate", 1e-5, 1.0, 0.1, log=True),
            IntegerParameter("rank", 1, 9, 4, dynamic=True),
            ChoiceParameter("shape", ("a", "b"), "a", active_when={"rank": (4, 8)}),
        ),
    )


BROKEN = [
    (
        RATE + "low = 0.1\nhigh = 0.001\ndefault = 0.1",
        "learning_rate: low must be below high, but got low=0.1, high=0.001",
    ),
    (
        RATE + "low = 0\nhigh = 1\ndefault = 0.1\nlog = true",
        "learning_rate: low must be above 0 on a log scale, but got low=0.0, high=1.0",
    ),
    (
        RATE + "low = 0.1\nhigh = 1\ndefault = 2",
        "learning_rate: default must lie between low and high, "
        "but got default=2, low=0.1, high=1.0",
    ),
    (
        RATE + "low = 0.1\nhigh = inf\ndefault = 1",
        "learning_rate: high must be a number, but got high=inf",
    ),
    (
        RATE + "low = 0.1\nhigh = 1\ndefault = nan",
        "learning_rate: default must be a number, but got default=nan",
    ),
    (
        RATE + "low = true\nhigh = 1\ndefault = 1",
        "learning_rate: low must be a number, but got low=True",
    ),
    (
        RATE + "low = 0.1\nhigh = 1\ndefault = 1\nlgo = true",
        "learning_rate: unknown key 'lgo' (nearest: low, log)",
    ),
    (
        RATE + "low = 0.1\nhigh = 1\ndefault = 1\nlog = 1",
        "learning_rate: log must be true or false, but got log=1",
    ),
    (
        RATE + "low = 0.1\nhigh = 1\ndefault = 1\nzero = true",
        "learning_rate: zero must go with log, but got zero=True, log=False",
    ),
    (RATE + "low = 0.1\ndefault = 1", "learning_rate: high must be given for type 'float'"),
    (
        RATE + "octaves = [1, 2]\nlog = true\ndefault = 1",
        "learning_rate: octaves must reach from below the default to above, but got octaves=[1, 2]",
    ),
    (
        RATE + 'octaves = [-1, 1e308]\nlog = true\ndefault = "auto"',
        "learning_rate: octaves must be 100 at most, either way, but got octaves=[-1, 1e+308]",
    ),
    (
        RATE + 'octaves = [-1, 2]\ndefault = "auto"',
        "learning_rate: octaves must be on a log scale, but got octaves=[-1, 2], log=False",
    ),
    (
        RATE + 'octaves = [-1, 2]\nlog = true\ndefault = "auto"\nlow = 0.1',
        "learning_rate: low and high must be left out beside octaves, but got low=0.1, high=0.0",
    ),
    (
        RATE + 'octaves = [-1, 2]\nlog = true\ndefault = "automatic"',
        "learning_rate: default must be a number, but got default='automatic'",
    ),
    (
        RATE.replace("learning_rate", "dropout") + 'low = 0\nhigh = 1\ndefault = "auto"',
        'dropout: default can be "auto" only for learning_rate, batch_size, divergence_weight, '
        "final_divergence_weight, but got default='auto'",
    ),
    (
        RATE.replace("learning_rate", '"learning rate"') + "low = 0\nhigh = 1\ndefault = 1",
        "learning rate: a parameter's name must be an identifier, but got name='learning rate'",
    ),
    (
        RATE.replace('"float"', '"flaot"'),
        "learning_rate: type must be one of float, integer, choice, but got type='flaot'",
    ),
    (
        BATCH + "low = 3\nhigh = 64\ndefault = 4\npowers_of_two = true",
        "batch_size: low and high must be powers of two, but got low=3, high=64",
    ),
    (
        BATCH + "low = 4\nhigh = 64\ndefault = 5\npowers_of_two = true",
        "batch_size: default must be a power of two, but got default=5",
    ),
    (
        BATCH + "low = 4.0\nhigh = 64\ndefault = 4",
        "batch_size: low must be a whole number, but got low=4.0",
    ),
    (
        SHAPE + 'choices = ["a"]\ndefault = "a"',
        "shape: choices must be a list of at least two values, but got choices=['a']",
    ),
    (
        SHAPE + 'choices = ["a", 1]\ndefault = "a"',
        "shape: choices must be strings, numbers or booleans, all of one type, "
        "but got choices=['a', 1]",
    ),
    (
        SHAPE + 'choices = ["a", "b", "a"]\ndefault = "a"',
        "shape: choices must differ, but got choices=['a', 'b', 'a']",
    ),
    (
        SHAPE + 'choices = ["a", "b"]\ndefault = "c"',
        "shape: default must be one of the choices, but got default='c', choices=['a', 'b']",
    ),
    (
        SHAPE + 'choices = ["a", "b"]\ndefault = "a"\nactive_when = { batch_size = 4 }',
        "shape: active_when must be a table of lists, but got value=4",
    ),
    (
        SHAPE + 'choices = ["a", "b"]\ndefault = "a"\nactive_when = { batch_size = [4] }',
        "shape: a parameter in active_when must be one that comes before, "
        "but got parent='batch_size'",
    ),
    ("", "space: must have a parameter, but got parameters=[]"),
    ("parameters = 3", "parameters must be a table, but got 3"),
    ("[parameter.x]", "unknown key 'parameter' (nearest: parameters)"),
    ("[parameters]\nx = 3", "x: must be a table, but got value=3"),
    (
        "fixed = 3\n" + FIXABLE,
        "space: fixed must be a table of numbers, strings or booleans, but got fixed=3",
    ),
    (
        FIXABLE + "[fixed]\nx = [1]",
        "space: fixed must be a table of numbers, strings or booleans, but got x=[1]",
    ),
    (
        FIXABLE + "[fixed]\nlearning_rate = 0.2",
        "space: must be fixed or a parameter, not both, but got twice='learning_rate'",
    ),
]


@pytest.mark.parametrize(("text", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_file_is_answered_with_one_line(tmp_path: Path, text: str, message: str):
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(SpaceError) as caught:
        load_space(file)
    assert str(caught.value) == f"{message} (file {file})"


def test_files_that_cannot_be_read_are_answered_with_one_line(tmp_path: Path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[parameters")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for file, what in (
        (broken, "must be TOML"),
        (binary, "not UTF-8"),
        (tmp_path / "missing.toml", "No such file or directory"),
        (tmp_path, "unknown search space"),
    ):
        with pytest.raises(SpaceError, match=what) as caught:
            load_space(file)
        assert "\n" not in str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(SpaceError) as caught:
        load_space("defualt")
    message = "unknown search space 'defualt' (nearest: default, or a .toml file)"
    assert str(caught.value).replace(", full", "") == message


@pytest.mark.parametrize(
    "data", [{}, {"name": "s", "parameters": [3]}, {"name": "s", "parameters": [{}]}]
)
def test_a_broken_dictionary_is_answered_with_one_line(data: dict[str, object]):
    with pytest.raises(SpaceError, match="must have a name and named parameters"):
        SearchSpace.from_dict(data)
