"""A search of preference optimization from the command line."""

import json
import shlex
from pathlib import Path

import pytest

from hpopt.cli.entry import main

PAIRS = "".join(
    json.dumps({"question": f"Is {n} even?", "good": " yes.", "bad": " no!"}) + "\n"
    for n in range(60)
)
OWN = (
    "search --task dpo --train-file pairs.jsonl --prompt-column question --chosen-column good "
    "--name own --trials 1 --confirm-seeds 1 --track parents"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of pairs."""
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pairs_of_one_s_own_are_searched_under_a_limit_on_divergence(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    budget = "--rejected-column bad --segment-tokens 2048 --trial-tokens 4096"
    assert main(shlex.split(f"{OWN} {budget} --agent tpe --fix learning_rate=1e-5")) == 0
    assert "subject to divergence ≤ 0.5 nats" in capfd.readouterr().out
    result = json.loads((folder / "runs" / "own" / "result.json").read_text())
    assert result["base_value"] == 0.5
    assert result["best_value"] == 1.0
    samples = json.loads((folder / "runs" / "own" / "best" / "samples.json").read_text())
    assert {row["reference"] for row in samples["rows"]} == {" yes."}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "--rejected-column: pairs.jsonl must have a column 'rejected', but has 'question'"),
        ("--rejected-column bad --label-column good", "--label-column: must be left out"),
        ("--rejected-column bad --space plain", "must have divergence_weight"),
    ],
)
def test_what_will_not_do_is_answered_in_one_line(
    capfd: pytest.CaptureFixture[str], typed: str, words: str
) -> None:
    assert main(shlex.split(f"{OWN} {typed}")) == 2
    out, err = capfd.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
