"""The published table: its rows are tasks that can be drawn again, and say what trials come to."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hpopt.policies.files import load_policy
from hpopt.policies.grid import CELLS
from hpopt.pretraining import tables
from hpopt.pretraining.families import training_families

FOLDER = Path(__file__).parents[3] / "benchmarks" / "nano_table"
CARD = json.loads((FOLDER / "table.json").read_text(encoding="utf-8"))


def test_a_row_is_what_its_task_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    octaves = range(-1, 1)
    monkeypatch.setattr(tables, "OCTAVES", octaves)
    monkeypatch.setattr(tables, "RAMP_STARTS", range(1))  # ramps aren't in it
    published = load_file(FOLDER / "table.safetensors")
    (family,) = islice(training_families(CARD["settings"]["seed"]), 1)
    (row,) = ((published["family"] == 0) & (published["task"] == 0)).nonzero()[:, 0].tolist()
    again = tables.make_table(family, 1)
    places = [CARD["learning_rate_octaves_from_default"].index(octave) for octave in octaves]
    for name, values in (
        ("loss_change", again.loss[0] - again.base_loss[0]),
        ("forgetting", again.forgetting[0]),
    ):
        said = published[name][row, places].float()
        assert torch.equal(said.isinf(), values.isinf())
        assert torch.allclose(said, values, rtol=0.02, atol=5e-3)


def test_it_is_what_the_policy_that_is_shipped_learned_from() -> None:
    published, card = load_file(FOLDER / "table.safetensors"), load_policy().card
    seen = [not family["held_out"] for family in CARD["families"]]
    assert sum(seen) == card["families"]
    rows = torch.tensor(seen)[published["family"].int()]
    assert int(rows.sum()) == card["tasks"]
    assert int(rows.sum()) * 16 * CELLS == card["trials"]
    assert {f["name"] for f in CARD["families"] if f["held_out"]} == set(card["held_out"])
