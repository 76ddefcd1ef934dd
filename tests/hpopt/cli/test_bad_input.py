"""What a newcomer gets wrong is answered in one line, and leaves nothing behind."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hpopt
from hpopt.cli.entry import main
from hpopt.record.journal import Journal, read_events
from hpopt.record.lines import encode_line
from hpopt.settings.study import Settings
from hpopt.study.opening import begin, take_up
from tests.hpopt.cli.mistakes import FILES, MISTAKES, OWN, SHORT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with `FILES`."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for module in ("own", "broken", "exits"):
        sys.modules.pop(module, None)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize(("typed", "words"), MISTAKES, ids=lambda text: text[:60])
def test_a_mistake_is_answered_in_one_line_and_leaves_nothing_behind(
    folder: Path, capfd: pytest.CaptureFixture[str], typed: str, words: str
) -> None:
    short, _, rest = typed.partition(" ")
    before = files(folder)
    assert main(shlex.split(f"{SHORT.get(short, short)} {rest}")) == 2
    out, err = capfd.readouterr()
    assert words in err
    assert err.startswith("hpopt: ")
    assert err.count("\n") == 1
    assert out == ""
    assert files(folder) == before


def small_study(**settings: Any) -> Path:
    """The journal of a study that has just begun, in the working directory's `runs`."""
    asked = Settings.of({"task": "simulated", "trials": 1, "name": "otter", **settings})
    with begin(asked) as study:
        study.journal.append({"event": "resumed"})
    return study.folder.journal


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_a_taken_name_is_refused_and_resume_is_named(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    journal = small_study().read_bytes()
    line = refused(capfd, "search", "--task", "simulated", "--name", "otter")
    assert "--name: must be new" in line
    assert "`python -m hpopt resume otter`" in line
    assert (folder / "runs" / "otter" / "journal.jsonl").read_bytes() == journal
    assert "must be a study in runs/ (otter)" in refused(capfd, "resume", "oter")


def test_a_journal_that_cannot_be_continued_is_refused_and_kept(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = small_study()
    whole = path.read_bytes()
    header, *others = read_events(path)
    altered = header | {"versions": header["versions"] | {"torch": "0.1"}}
    elsewhere = b"".join(map(encode_line, [altered, *others]))
    for damaged, words in (
        (b"", "must begin with its study"),
        (whole[:100], "must begin with its study"),
        (whole.replace(b"simulated", b"simulatad", 1), "line 1 of"),
        (elsewhere, "torch must be what the study 'otter'"),
    ):
        path.write_bytes(damaged)
        assert words in refused(capfd, "resume", "otter")
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    with Journal.open(path):
        assert "in use by another process" in refused(capfd, "resume", "otter")


def test_a_task_with_logits_has_a_reference_even_without_retained_data(folder: Path) -> None:
    (folder / "own.py").write_text(
        OWN + "\nfrom hpopt_envs.tasks import Reference\nclass Logits(Own, Reference):\n"
        "    def logits(self, model, batch): return model(batch['x']), batch['y'] >= 0\n"
    )
    begun = Settings.of({"task": "own:Logits", "trials": 1, "trial_tokens": 4096, "name": "own"})
    with begin(begun) as study:
        assert study.space.names == ("learning_rate", "batch_size", "divergence_weight")
        facts = study.facts
    assert facts.has_reference
    assert set(facts.base_metrics) == {"loss", "accuracy", "divergence"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trails": 3}, "unknown setting 'trails' (nearest: trials"),
        ({"trials": "3"}, "trials: must be a whole number"),
        ({"task": None}, "task: must be a text, but got None"),
        ({"baseline": "lr"}, "baseline: must be a table"),
        ({"in_order": "no"}, "in_order: must be true or false"),
        ({"max_divergence": "some"}, "max_divergence: must be a number above 0 or 'none', but got"),
        ({"max_divergence": True}, "max_divergence: must be a number above 0 or 'none', but got"),
        (
            {"constraint": ["a=1", 2]},
            "constraint: must be a list of texts, SCORE=MEAN, but got ['a=1', 2]",
        ),
        ({"constraint": []}, "constraint: must be a list of texts, SCORE=MEAN, but got []"),
    ],
)
def test_python_gets_the_same_lines_as_errors(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(hpopt.HpoptError) as raised:
        hpopt.search(**settings)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_study_resumes_with_more_budget_alone(folder: Path) -> None:
    small_study()
    with pytest.raises(hpopt.StudyError, match="may change trials, cost, time_limit alone"):
        take_up("otter", "runs", {"seed": 3})
