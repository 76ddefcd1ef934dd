"""Where a record goes: folders of any name, MLflow's own variables, and no password anywhere."""

import shlex
from pathlib import Path

import pytest

import hpopt
from hpopt.commands import record_note, resume_command, ui_command, without_password
from hpopt.errors import StudyError
from hpopt.settings.study import Settings
from hpopt.tracking import links
from hpopt.tracking.reach import check_reachable
from hpopt.tracking.store import connect, experiments

TEAM = "sqlite:////team/mlflow.db"


def test_mlflows_variables_are_heeded_unless_an_option_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", TEAM)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "otters")
    heeded = Settings.of({}).tracking
    assert (heeded.uri, heeded.experiment) == (TEAM, "otters")
    note = record_note(heeded.tracking_uri, heeded.experiment)
    assert note is not None
    assert "MLFLOW_TRACKING_URI" in note
    assert "MLFLOW_EXPERIMENT_NAME" in note
    assert ui_command("runs", heeded.tracking_uri) == "python -m hpopt ui"
    given = Settings.of({"tracking_uri": "sqlite:///mine.db", "experiment": "mine"}).tracking
    assert (given.uri, given.experiment) == ("sqlite:///mine.db", "mine")
    assert record_note(given.tracking_uri, given.experiment) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    unsaid = Settings.of({}).tracking
    assert (unsaid.uri, unsaid.experiment) == ("sqlite:///runs/mlflow.db", None)


def test_a_study_goes_where_the_variables_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'team.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "otters")
    asked = {"task": "simulated", "trials": 1, "agent": "random", "confirm_seeds": 0}
    result = hpopt.search(**asked, runs=str(tmp_path / "runs"), name="one")  # type: ignore[arg-type]
    assert result.tracking_error is None
    assert "otters" in [name for _, name, _ in experiments(tmp_path / "team.db")]
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    hpopt.resume("one", runs=str(tmp_path / "runs"), trials=2)  # stays where it was
    assert not (tmp_path / "runs" / "mlflow.db").exists()


@pytest.mark.parametrize("name", ["läufe ü 50%20 a+b&c=d", "why? a#b x@y:z"])
def test_a_folder_of_any_name_has_record_report_and_hints(name: str, tmp_path: Path) -> None:
    runs = tmp_path / name
    asked = {"task": "simulated", "trials": 1, "agent": "random", "confirm_seeds": 0}
    result = hpopt.search(**asked, runs=str(runs), name="one")  # type: ignore[arg-type]
    assert result.tracking_error is None
    assert (runs / "mlflow.db").is_file()
    assert (runs / "one" / "report.html").is_file()
    assert len(list((runs / "mlartifacts").rglob("schedule.json"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [stage for _, task, stage in experiments(runs / "mlflow.db") if task == "simulated"]
    for command in (resume_command("one", str(runs)), ui_command(str(runs), None)):
        assert shlex.split(command)[-2:] == ["--runs", str(runs)]


SECRETS = [
    "http://me:pass@word@server:5000/base",
    "http://me:pass/word@server",
    "https://token:s3cret%2Fword@server",
    "postgresql://me:pass:word@db/mlflow",
    "postgresql://db/mlflow?user=me&password=secretword",
    "mysql+pymysql://me:pass?word@db:1/mlflow",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_password_is_shown_nowhere(uri: str) -> None:
    assert "word" not in without_password(uri).replace("password=", "")
    assert "word" not in links.pages(uri)
    assert "word" not in ui_command("runs", uri).replace("password=", "")
    with pytest.raises(StudyError) as refused:
        check_reachable(uri.replace("server", "127.0.0.1:1").replace("db", "127.0.0.1:1"))
    assert "word" not in str(refused.value).replace("password", "")


def test_an_address_without_a_password_stays_as_it_is() -> None:
    for uri in ("sqlite:///x@y:z/mlflow.db", "http://server:5000/base", TEAM):
        assert without_password(uri) == uri


def test_an_experiment_that_was_deleted_is_refused_before_a_study(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client, experiment = connect(uri, "otters")
    check_reachable(uri, "otters")
    client.delete_experiment(experiment)
    with pytest.raises(StudyError, match="'otters' was deleted in MLflow: restore it"):
        check_reachable(uri, "otters")
    check_reachable(uri, "weasels")
