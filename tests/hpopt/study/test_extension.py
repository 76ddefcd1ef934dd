"""An ended study keeps no snapshots, and goes on as if it had them."""

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpopt.cli.summary import report
from hpopt.record.history import FIRST_TEST
from hpopt.record.lines import Event
from hpopt.searchers.registry import AGENTS
from hpopt.settings.study import Settings
from hpopt.study.conducting import conduct
from hpopt.study.display import Display
from hpopt.study.opening import begin, take_up
from hpopt.study.result import StudyResult
from hpopt_envs.stand_ins.simulated import SimulatedRun
from tests.hpopt.asking import asked as said
from tests.hpopt.searching import final_of

SEARCHERS = [
    # A portfolio needs other studies.
    *((agent, "none") for agent in AGENTS if agent != "portfolio"),
    ("tpe", "median"),
    ("tpe", "promotion"),
]


class Keeping(Display):
    """Copies a study's snapshots when its confirmation begins: that of its winner."""

    def __init__(self, study: Path) -> None:
        self._study = study

    def event(self, event: Event) -> None:
        begins = event["event"] == "decision" and event["request"]["kind"] == "start"
        if begins and event["trial"] == FIRST_TEST:
            shutil.copytree(self._study / "snapshots", self._study / "kept")


def search(runs: Path, display: Display | None = None, **settings: Any) -> StudyResult:
    asked = {"task": "simulated", "agent": "tpe", "trials": 3, "trial_tokens": 4 * 4096}
    told = said({**asked, "runs": str(runs), "name": "otter", **settings})
    return conduct(begin(told), display or Keeping(runs / "otter"))


def extend(runs: Path, display: Display | None = None, **limits: Any) -> StudyResult:
    return conduct(take_up("otter", str(runs), limits), display or Display())


def outcome(result: StudyResult) -> tuple[Any, ...]:
    history = result.history
    values = {trial.id: (trial.value, trial.outcome) for trial in history.trials.values()}
    return values, result.best_value, final_of(result), history.cost, history.training_tokens


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize(("agent", "pruner"), SEARCHERS)
def test_an_ended_study_goes_on_without_snapshots_as_it_did_with_them(
    agent: str, pruner: str, tmp_path: Path
) -> None:
    lean, old = tmp_path / "lean", tmp_path / "old"
    for runs in (lean, old):
        search(runs, agent=agent, pruner=pruner)
        assert not (runs / "otter" / "snapshots").exists()
    shutil.move(old / "otter" / "kept", old / "otter" / "snapshots")  # as studies used to end
    assert len(list((old / "otter" / "snapshots").iterdir())) == 1
    for trials in (4, 8):
        results = [extend(runs, trials=trials) for runs in (lean, old)]
        assert outcome(results[0]) == outcome(results[1])
        assert files(lean / "otter" / "best") == files(old / "otter" / "best") != {}
        assert not any((runs / "otter" / "snapshots").exists() for runs in (lean, old))


def test_a_winner_that_stays_keeps_its_weights_and_a_new_one_brings_its_own(
    tmp_path: Path,
) -> None:
    winner, weights = [], []
    search(tmp_path, seed=1)
    for trials in range(4, 12):
        result = extend(tmp_path, trials=trials)
        assert result.best is not None
        winner.append(result.best.id)
        weights.append((tmp_path / "otter" / "best" / "weights.json").read_bytes())
    changes = [winner[i] != winner[i - 1] for i in range(1, len(winner))]
    assert set(changes) == {True, False}
    assert changes == [weights[i] != weights[i - 1] for i in range(1, len(weights))]


def test_weights_that_could_not_be_written_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = Settings.of({"runs": str(tmp_path)})
    with monkeypatch.context() as patched:
        patched.setattr(SimulatedRun, "save_weights", full)
        first = search(tmp_path, confirm_seeds=0)
    assert len(list((tmp_path / "otter" / "snapshots").iterdir())) == 1
    assert "snapshots/ is kept for the recommended weights" in report(first, settings)
    second = extend(tmp_path)
    assert (tmp_path / "otter" / "best" / "weights.json").is_file()
    assert not (tmp_path / "otter" / "snapshots").exists()
    assert "snapshots/" not in report(second, settings)
