"""Why a learned searcher chose: in the journal, on the terminal and on the page."""

from pathlib import Path

import pytest

from hpopt.cli.display import LineDisplay
from hpopt.record.folders import StudyFolder
from hpopt.record.history import History
from hpopt.report.page.study import study_figures, write_report
from tests.hpopt.searching import search


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("runs")
    search(folder, agent="learned", task="nano:markov:3", trials=4, trial_tokens=None)
    return folder


@pytest.fixture
def history(runs: Path) -> History:
    return StudyFolder(runs / "otter").read()


def test_the_page_shows_what_the_ramp_saw_and_what_was_expected(
    runs: Path, history: History
) -> None:
    figure = study_figures(history)["why"]
    objective, loss, expected, trials = figure.data
    first = history.trials[0].segments
    seen = [(s.hyperparameters["learning_rate"], s.probe_loss) for s in first[: len(loss.y)]]
    for (rate, probed), x, y in zip(seen, loss.x, loss.y, strict=False):
        if y is None:
            break  # the ramp ended before
        assert (x, y) == pytest.approx((rate, probed), rel=1e-3)
    weight = history.facts.forgetting_weight
    forgetting = first[2].probe_forgetting
    assert forgetting is not None
    assert objective.y[2] - loss.y[2] == pytest.approx(weight * forgetting, abs=2e-3)
    assert len(expected.z) == len(expected.y) == 8
    assert {len(row) for row in expected.z} == {len(expected.x)} == {12}
    assert list(trials.text) == ["1", "2", "3"]
    for place, trial in enumerate((1, 2, 3)):
        held = history.trials[trial].segments[0].hyperparameters
        assert trials.x[place] == held["learning_rate"]
        named = f"β {held['divergence_weight']:g}, batch {held['batch_size']}"
        assert trials.y[place] == named
    page = write_report(StudyFolder(runs / "otter"), history).read_text(encoding="utf-8")
    assert "Why it chose" in page
    for said in history.chosen.values():
        assert said["text"] in page


def test_a_study_of_others_has_no_such_section(tmp_path: Path) -> None:
    search(tmp_path, trials=2, agent="random")
    history = StudyFolder(tmp_path / "otter").read()
    assert "why" not in study_figures(history)


def test_the_terminal_says_it_before_the_trial_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"agent": "learned", "task": "nano:markov:3", "trials": 3, "trial_tokens": None}
    search(tmp_path, LineDisplay(), **settings)
    lines = capsys.readouterr().out.splitlines()
    begun = next(k for k, line in enumerate(lines) if line.startswith("trial  used"))
    assert [line.split()[0] for line in lines[begun + 1 : begun + 7]] == [
        *("0", "trial", "trial", "1", "trial", "2")
    ]
    assert lines[begun + 2].startswith("       trial 0: the ramp was lowest at")
    assert lines[begun + 3].startswith("       trial 1: expected regret")
    assert lines[begun + 5].startswith("       trial 2: expected regret")
