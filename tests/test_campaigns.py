"""The campaigns of `benchmarks/`, a few cases each: nothing is bad, and what is is counted."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.campaigns import campaign


@pytest.mark.parametrize(
    ("name", "count"), [("spaces", 100), ("data", 10), ("journals", 10), ("snapshots", 3)]
)
def test_a_few_cases_are_well(name: str, count: int) -> None:
    said: list[str] = []
    tally = campaign.run(name, 10**6, count, said.append)
    assert said == []
    assert tally.tried >= count
    assert tally.bad == 0


@pytest.mark.parametrize("name", campaign.NAMES)
def test_every_campaign_is_there(name: str) -> None:
    module = import_module(f"benchmarks.campaigns.{name}")
    assert module.WHAT
    assert module.COUNT > 0
    assert callable(module.case)


def test_what_is_bad_is_counted_and_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def case(seed: int, folder: Path) -> Iterator[str]:
        yield "odd" if seed % 2 else ""
        yield campaign.attempt(lambda: 1 // (seed - 4))[1]

    module = ModuleType("own")
    module.WHAT, module.COUNT, module.case = "mine", 9, case  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "benchmarks.campaigns.own", module)
    said: list[str] = []
    tally = campaign.run("own", 2, 3, said.append)
    assert tally.row == "| mine | 2–4 | 6 | 2 |"
    assert said[0] == "own --seed 3 --count 1: odd"
    assert said[1].startswith("own --seed 4 --count 1: ZeroDivisionError at ")
