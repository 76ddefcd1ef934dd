"""What the winner writes is shown beside its numbers, as text and nothing else."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hpopt.cli.entry import main
from hpopt.cli.summary import SHOWN, WIDTH, report
from hpopt.record.folders import StudyFolder
from hpopt.record.history import History
from hpopt.record.samples import read_samples
from hpopt.report.page.samples import LONGEST
from hpopt.report.page.study import write_report
from hpopt.settings.study import Settings
from hpopt.study.opening import begin
from hpopt.study.result import StudyResult
from hpopt_search_spaces import SearchSpace
from tests.hpopt.searching import run

HOSTILE = "</script><img src=x onerror=alert(1)> [bold]no[/bold] [link=http://x]&amp;"
CURSOR = "one\r\n two\x1b[2J\x07 three\t\u202e\u2028 four"
PLAIN = "one two\N{REPLACEMENT CHARACTER}[2J"  # how `CURSOR` begins on a terminal


def row(prompt: str = "p", before: str = "b", after: str = "a", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "before": before, "after": after, **more}


def write(study: Path, *rows: dict[str, Any], score: str = "") -> None:
    path = StudyFolder(study).samples
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"score": score, "rows": rows}))


class Tables(HTMLParser):
    """The rows of cells in each table of the section of samples, and all tags of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "section":
            self._inside = ("id", "samples") in attrs
        if self._inside and tag == "table":
            self.tables.append([])
        elif self._inside and tag == "tr":
            self.tables[-1].append([])
        elif self._inside and tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_data(self, data: str) -> None:
        if self._inside and self.tables and self.lasttag in ("th", "td") and data != "\n":
            self.tables[-1][-1][-1] += data


@pytest.fixture
def history(new_script: Callable[..., Any]) -> History:
    """A study with two trials."""
    script, history = new_script(), History()
    script.trial(0, 3.5, 3.0)
    script.trial(1, 3.5, 2.5)
    script.final({"default": (3.0, 3.0), "trial 1": (2.5, 2.6)})
    for event in script.events:
        history.apply({"name": "otter", **event})
    return history


@pytest.fixture
def tell(history: History, space: SearchSpace, tmp_path: Path) -> Callable[..., list[str]]:
    """Returns the lines of the report on a study with samples."""

    def told(*rows: dict[str, Any], score: str = "") -> list[str]:
        if rows:
            write(tmp_path, *rows, score=score)
        result = StudyResult("otter", tmp_path, history, space, 75.0, None)
        return report(result, Settings()).split("\n")

    return told


def shown(history: History, folder: Path) -> Tables:
    return Tables(write_report(StudyFolder(folder), history).read_text())


def test_the_first_samples_stand_below_the_test_metrics(tell: Callable[..., list[str]]) -> None:
    rows = [
        row(f"p{i}", f"b{i}", f"a{i}", reference=f"r{i}", score_before=0.25, score_after=1.0)
        for i in range(8)
    ]
    lines = tell(*rows, score="reward")
    begin = lines.index(f"What the model writes, for {SHOWN} of 8 prompts:")
    verdict = next(i for i, line in enumerate(lines) if line.startswith("On test, "))
    assert begin == verdict + 2
    assert [line.split() for line in lines[begin + 1 : begin + 5]] == [
        ["prompt", "p0"],
        ["base", "model", "b0", "(reward", "0.25)"],
        ["recommended", "a0", "(reward", "1)"],
        ["reference", "r0"],
    ]
    blank, recommended, *_ = lines[begin + 1 + 4 * SHOWN :]
    assert (blank, recommended.split(".")[0]) == ("", "Recommended: trial 1")


def test_a_text_is_one_short_line_that_does_nothing_to_a_terminal(
    tell: Callable[..., list[str]],
) -> None:
    lines = tell(row(CURSOR, HOSTILE, "x" * 5000), row("", "\n \n", "é" * WIDTH))
    begin = lines.index("What the model writes, for 2 of 2 prompts:")
    texts = [line.split(maxsplit=2 if "base" in line else 1)[-1] for line in lines[begin + 1 :][:6]]
    assert texts[0].startswith(PLAIN)
    assert all(text.isprintable() and len(text) <= WIDTH for text in texts)
    assert texts[1:] == [HOSTILE, "x" * (WIDTH - 1) + "…", "–", "–", "é" * WIDTH]


def test_the_page_has_all_samples_and_nothing_in_them_is_markup(
    history: History, tmp_path: Path
) -> None:
    rows = [
        row(
            HOSTILE,
            "\n ",
            "\n  a\n  b\n\n",
            reference=HOSTILE,
            score_before=0.5,
            score_after=-1236.0,
        ),
        row("half \ud83d", "x" * (LONGEST + 1), "x" * LONGEST, score_before=0.0, score_after=1.0),
    ]
    write(tmp_path, *rows, score=HOSTILE)
    page = shown(history, tmp_path)
    assert page.tables == [
        [
            ["prompt", HOSTILE, HOSTILE],
            ["before", "–", "0.5"],
            ["after", "  a\n  b", "-1,236"],
            ["reference", HOSTILE, ""],
        ],
        [
            ["prompt", "half ?", HOSTILE],
            ["before", "x" * (LONGEST - 1) + "…", "0"],
            ["after", "x" * LONGEST, "1"],
        ],
    ]
    assert not {"img", "b", "link"} & set(page.tags[page.tags.index("body") :])


def test_without_scores_there_is_no_column_of_them(history: History, tmp_path: Path) -> None:
    write(tmp_path, row(reference="r"))
    (table,) = shown(history, tmp_path).tables
    assert table == [["prompt", "p"], ["before", "b"], ["after", "a"], ["reference", "r"]]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        '{"score": "", "rows": [{"prom',
        "[]",
        '{"rows": []}',
        '{"score": "", "rows": [{"prompt": "p"}]}',
    ],
)
def test_a_study_without_samples_that_can_be_read_is_told_without(
    tell: Callable[..., list[str]], history: History, tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        write(tmp_path)
        StudyFolder(tmp_path).samples.write_text(text)
    assert read_samples(StudyFolder(tmp_path)) is None
    assert not any("What the model writes" in line for line in tell())
    assert shown(history, tmp_path).tables == []


def test_a_page_made_again_later_has_the_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"task": "simulated", "trial_tokens": 4096, "trials": 2, "confirm_seeds": 0}
    asked = Settings.of({**small, "name": "otter", "runs": str(tmp_path)})
    result = run(begin(asked))
    write(result.folder, row(after="It ends with a full stop."))
    assert main(["report", "otter", "--runs", str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    ((_, _, after),) = Tables(path.read_text()).tables
    assert after == ["after", "It ends with a full stop."]
    assert "It ends with a full stop." in report(result, asked)
