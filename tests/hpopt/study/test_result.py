"""A result in Python: what a user reads of it in a script and in a notebook."""

import json

import pytest

import hpopt


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> hpopt.StudyResult:
    runs = str(tmp_path_factory.mktemp("runs"))
    small = {"task": "simulated", "trials": 5, "trial_tokens": 4 * 4096, "confirm_seeds": 1}
    return hpopt.search(**small, agent="tpe+median", seed=3, runs=runs, name="otter")  # type: ignore[arg-type]


def test_trials_are_a_table(result: hpopt.StudyResult) -> None:
    table = result.to_dataframe()
    assert list(table["trial"]) == [trial.id for trial in result.trials]
    assert list(table["outcome"]) == [t.outcome.value for t in result.trials if t.outcome]
    assert result.best is not None
    assert table["value"].min() == result.best.value
    best = table[table["value"] == result.best.value].iloc[0]
    assert result.best is not None
    assert best["trial"] == result.best.id
    assert {n: best[n] for n in result.space.names} == {
        n: result.schedule[-1][n] for n in result.space.names
    }
    spent = table["cost"].sum() + result.facts.setup_cost
    assert spent == pytest.approx(result.history.search_cost)
    assert table["training_tokens"].sum() == result.history.training_tokens


def test_it_is_shown_in_a_line_and_as_a_table(result: hpopt.StudyResult) -> None:
    line = repr(result)
    assert len(line) < 150
    assert "'otter'" in line
    assert f"{result.best_value:.6g}" in line
    page = result._repr_html_()
    assert page.count("<tr") == 1 + len(result.trials)
    assert "&lt;StudyResult" in page


def test_a_schedule_is_shown_by_its_stretches(result: hpopt.StudyResult) -> None:
    values = result.schedule[0]
    shown = repr(result.recommended)
    assert shown.startswith("<Schedule of 16384 tokens: 0%–100% ")
    assert shown.count("learning_rate=") == 1
    assert f"batch_size={values['batch_size']}" in shown


def test_what_is_recommended_says_why_and_is_what_the_files_say(result: hpopt.StudyResult) -> None:
    assert result.recommendation is not None
    assert result.recommended is not None
    found = result.recommended.to_json()
    schedule = json.loads((result.folder / "schedule.json").read_text())
    written = json.loads((result.folder / "result.json").read_text())
    name = result.recommendation.name
    assert (schedule["configuration"], written["recommended"]["configuration"]) == (name, name)
    assert schedule["why"] == written["recommended"]["why"] == result.why
    assert schedule["segments"] == written["recommended"]["segments"] == found
    assert schedule["value"] == written["best_value"] == result.best_value
    assert result.why in (result.folder / "best" / "README.md").read_text()


def test_a_wrong_name_is_a_clear_message() -> None:
    with pytest.raises(hpopt.StudyError, match=r"^unknown setting 'trails' \(nearest: trials"):
        hpopt.search(trails=4)  # type: ignore[call-arg]
