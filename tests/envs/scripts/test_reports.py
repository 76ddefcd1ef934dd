"""Where a script's values are found, while they are being written."""

import json
import os
from pathlib import Path
from typing import Any

from hpopt_envs.scripts.reports import (
    TOKENS,
    JsonFile,
    JsonLines,
    Pattern,
    Reports,
    Source,
    TrainerState,
)


def values(source: Source | Reports, ended: bool = False) -> list[float]:
    return [report.metrics["eval_loss"] for report in source.read(ended)]


def state(folder: Path, losses: list[float], **others: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    history: list[Any] = [{"loss": 9.0, "step": 1}]
    history += [{"eval_loss": loss, "step": k + 1} for k, loss in enumerate(losses)]
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history, **others}))
    os.utime(path, ns=(len(losses), len(losses)))  # writes within a clock's tick are told apart


def test_json_lines_are_read_as_they_are_finished(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    source = JsonLines(path, "eval_loss")
    assert values(source) == []
    path.write_text('{"eval_loss": 2.0}\n{"loss": 1.0}\n{"eval_lo')
    assert values(source) == [2.0]
    with path.open("a") as file:
        file.write('ss": 3, "num_input_tokens_seen": 64}')
    assert values(source) == []
    (report,) = source.read(True)
    assert (report.metrics["eval_loss"], report.tokens) == (3.0, 64)


def test_lines_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    path.write_text('no json\n[1]\n{"eval_loss": "low"}\n{"eval_loss": true}\n{"eval_loss": NaN}\n')
    (only,) = values(JsonLines(path, "eval_loss"))
    assert only != only


def test_a_json_file_reports_whenever_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    source = JsonFile(path, "eval_loss")
    assert values(source) == []
    for text, found in [('{"eval', []), ('{"eval_loss": 2.0}', [2.0]), ('{"eval_loss": 2.0}', [])]:
        path.write_text(text)
        assert values(source) == found
    path.write_text('{"eval_loss": 1.5}')
    assert values(source) == [1.5]


def test_a_trainers_state_is_followed_from_checkpoint_to_checkpoint(tmp_path: Path) -> None:
    source = TrainerState(tmp_path, "eval_loss")
    assert values(source) == []
    state(tmp_path / "checkpoint-1", [3.0], num_input_tokens_seen=0)
    (report,) = source.read(False)
    assert (report.metrics["eval_loss"], report.tokens) == (3.0, None)
    assert values(source) == []
    state(tmp_path / "checkpoint-3", [3.0, 2.0, 1.0], num_input_tokens_seen=640)
    before, last = source.read(False)
    assert (before.metrics["eval_loss"], before.tokens) == (2.0, None)
    assert (last.metrics["eval_loss"], last.tokens, last.metrics[TOKENS]) == (1.0, 640, 640.0)
    state(tmp_path, [3.0, 2.0, 1.0, 0.5])
    assert values(source, True) == [0.5]


def test_a_pattern_finds_values_in_lines_and_in_bars(tmp_path: Path) -> None:
    path = tmp_path / "stdout.txt"
    source = Pattern(path, "eval_loss", r"loss[=:] *(\S+)")
    path.write_text("loss=2.5\nnothing\nloss: nan\r10%\rloss=low\nloss=1.")
    first, second = values(source)
    assert first == 2.5
    assert second != second
    with path.open("a") as file:
        file.write("25")
    assert values(source, True) == [1.25]


def test_the_first_source_that_says_something_speaks_for_the_trial(tmp_path: Path) -> None:
    ours, other = tmp_path / "reports.jsonl", tmp_path / "values.jsonl"
    source = Reports(JsonLines(ours, "eval_loss"), JsonLines(other, "eval_loss"))
    assert values(source) == []
    ours.write_text('{"eval_loss": 1.0}\n')
    other.write_text('{"eval_loss": 5.0}\n')
    assert values(source) == [1.0]
    assert values(source, True) == []
