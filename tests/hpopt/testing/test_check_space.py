"""`check_space` passes the spaces that are shipped, and catches each broken promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpopt.testing import check_space
from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    SearchSpace,
    TrainingFacts,
    Value,
    available_spaces,
    load_space,
)
from tests.hpopt.testing.failing import fails

PARAMETERS = (
    FloatParameter("learning_rate", 1e-5, 1e-2, 1e-3, log=True),
    IntegerParameter("batch_size", 1, 64, 8, powers_of_two=True),
    ChoiceParameter("optimizer", ("adamw", "sgd"), "adamw"),
    FloatParameter("momentum", 0.0, 0.99, 0.9, active_when={"optimizer": ("sgd",)}),
)


@pytest.mark.parametrize("name", [name for name, _ in available_spaces()])
def test_spaces_that_are_shipped_keep_their_promises(name: str) -> None:
    check_space(name)


def test_a_space_of_one_s_own_may_be_a_file_or_an_object(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[parameters.x]\ntype = 'float'\nlow = 0.0\nhigh = 1.0\ndefault = 0.1\n")
    check_space(file)
    check_space(str(file))
    check_space(SearchSpace("mine", PARAMETERS))


class Narrow(SearchSpace):
    """Encodes to another place than it decodes from."""

    def encode(self, values: Mapping[str, Value]) -> tuple[float, ...]:
        return tuple(u / 2 for u in super().encode(values))


class Outside(SearchSpace):
    def encode(self, values: Mapping[str, Value]) -> tuple[float, ...]:
        return tuple(u + 1.0 if values else u for u in super().encode(values))


class Everything(SearchSpace):
    """Gives a value to what is switched off, too."""

    def decode(self, unit: Sequence[float]) -> dict[str, Value]:
        return {p.name: p.from_unit(u) for p, u in zip(self.parameters, unit, strict=True)}


class Texts(SearchSpace):
    def decode(self, unit: Sequence[float]) -> dict[str, Value]:
        return {n: str(v) for n, v in super().decode(unit).items()}


class Illegal(SearchSpace):
    def snap(self, raw: Mapping[str, Value]) -> dict[str, Value]:
        return super().snap(raw) | {"learning_rate": 1.0}


class Restless(SearchSpace):
    """Moves legal values."""

    def snap(self, raw: Mapping[str, Value]) -> dict[str, Value]:
        values = super().snap(raw)
        return values | {"batch_size": 1 if values["batch_size"] != 1 else 2}


class Forgetful(SearchSpace):
    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"name": "another"}


@dataclass(frozen=True)
class Elsewhere(SearchSpace):
    """Begins at another point than the defaults'."""

    @property
    def default_unit(self) -> tuple[float, ...]:
        return (0.0,) * self.dimension


class Unresolved(SearchSpace):
    def resolve(self, facts: TrainingFacts) -> SearchSpace:
        return self


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Narrow, "its values must stay {'learning_rate'"),
        (Elsewhere, "default_unit must decode to the defaults"),
        (Outside, "its values must be encoded in the unit cube"),
        (Everything, "must have values of the active parameters"),
        (Texts, "must be legal, but got '"),
        (Illegal, "learning_rate: must be legal, but got 1.0"),
        (Restless, "legal values must stay"),
        (Forgetful, "from_dict(to_dict()) must be the same, 'mine', but got 'another'"),
    ],
)
def test_a_broken_promise_is_told_in_a_line(kind: type[SearchSpace], line: str) -> None:
    fails(line, check_space, kind("mine", PARAMETERS))


def test_auto_must_become_numbers() -> None:
    parameters = load_space("default").parameters
    fails("once it is resolved for", check_space, Unresolved("mine", parameters))
    alien = ChoiceParameter("optimizer", ("shampoo", "adamw"), "shampoo")
    fails('"auto" has no rule for', check_space, SearchSpace("mine", (alien, *parameters)))


def test_what_is_no_space_is_told_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[parameters.x]\ntype = 'float'\nlow = 1.0\nhigh = 0.0\ndefault = 0.5\n")
    fails("x: ", check_space, file)
    fails("unknown search space 'defalt'", check_space, "defalt")
