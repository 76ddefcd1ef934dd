"""How many random trials TPE begins with, in new studies and in those of before there was a limit.

Optuna's TPE draws its random trials as its random sampler of the same seed does.
"""

from pathlib import Path
from typing import Any

import pytest

from hpopt.record.folders import StudyFolder
from hpopt.record.journal import read_events
from hpopt.record.lines import encode_line
from hpopt_search_spaces import Value
from tests.hpopt.searching import killed, resume, told

SAID: dict[str, Any] = {"trials": 60, "confirm_seeds": 0}
EVENTS = 160  # of more than twelve trials
FIFTH = 12  # of the trials


def configurations(runs: Path) -> list[dict[str, Value]]:
    """What each trial was trained with, in order."""
    trials = StudyFolder(runs / "otter").read().trials.values()
    return [dict(trial.segments[0].hyperparameters) for trial in trials if trial.segments]


def shared(runs: Path, other: Path) -> int:
    """How many trials two studies begin with alike."""
    pairs = zip(configurations(runs), configurations(other), strict=False)
    return next(place for place, (one, two) in enumerate(pairs) if one != two)


def test_a_long_study_begins_with_no_more_random_trials_than_optuna_s_own(tmp_path: Path) -> None:
    for agent in ("tpe", "random"):
        killed(tmp_path / agent, EVENTS, agent=agent, **SAID)
    assert shared(tmp_path / "tpe", tmp_path / "random") == 10


def test_a_study_of_before_the_limit_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path / "random", EVENTS, agent="random", **SAID)
    monkeypatch.setattr("hpopt.study.header.STARTUP_LIMIT", 10**9)
    journal = killed(tmp_path / "tpe", EVENTS, **SAID)
    monkeypatch.undo()
    header, *events = read_events(journal)
    del header["startup_limit"]  # as it was written then
    journal.write_bytes(b"".join(map(encode_line, [header, *events])))
    assert shared(tmp_path / "tpe", tmp_path / "random") == FIFTH
    before = [told(t) for t in StudyFolder(journal.parent).read().trials.values() if t.outcome]
    trials = resume(tmp_path / "tpe").trials
    assert [told(trial) for trial in trials[: len(before)]] == before
    assert len(trials) >= SAID["trials"]
