"""`python -m hpopt pretrain`: a policy from nothing, gone on with, and refused."""

import json
from pathlib import Path

import pytest

from hpopt.cli.entry import main
from hpopt.policies.files import load_policy
from hpopt.pretraining.tables import Table


def test_a_folder_of_other_settings_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {"families": 3, "tasks": 2, "seed": 0, "version": "1"}
    (tmp_path / "pretraining.json").write_text(json.dumps(there))
    assert main(["pretrain", str(tmp_path), "--families", "1", "--tasks", "2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hpopt: folder: {tmp_path} must be new, or of {{'families': 1,")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("said", ["--families=0", "--tasks=none", "--seed=-1", "--workers=0"])
def test_impossible_settings_are_refused_in_a_line(
    said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", str(tmp_path / "policy"), said]) == 2
    _, err = capsys.readouterr()
    assert err.startswith(f"hpopt: {said.partition('=')[0]}: must be")
    assert not (tmp_path / "policy").exists()


@pytest.mark.slow
def test_a_policy_is_made_searched_with_and_its_tables_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = str(tmp_path / "policy")
    typed = ["pretrain", policy, "--families", "1", "--tasks", "4"]
    assert main(typed) == 0
    first = load_policy(policy)
    assert first.card["tasks"] == 4
    (table, *held_out) = sorted((tmp_path / "policy" / "tables").iterdir(), reverse=True)
    assert len(held_out) == 3
    assert first.card["trials"] == Table.load(table).loss.numel()
    capsys.readouterr()
    assert main(typed) == 0
    assert capsys.readouterr().out.startswith("4 of 4 tables are there")
    assert load_policy(policy).digest == first.digest
    search = ["search", "--task", "nano:markov:3", "--agent", "learned", "--policy", policy]
    assert main([*search, "--trials", "3", "--confirm-seeds", "0", "--runs", str(tmp_path)]) == 0
