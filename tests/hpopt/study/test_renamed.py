"""Studies by agents that had another name when they were begun."""

from pathlib import Path

from hpopt.record.journal import read_events
from hpopt.record.lines import encode_line
from tests.hpopt.searching import killed, outcome, resume, search


def test_a_study_by_dqn_of_before_goes_on_as_it_began(tmp_path: Path) -> None:
    """It learned from scratch then; what is called dqn now has a policy."""
    said = {"task": "simulated", "agent": "dqn-from-scratch", "trials": 6, "confirm_seeds": 0}
    whole = search(tmp_path / "whole", **said)
    journal = killed(tmp_path / "cut", 40, **said)
    header, *events = read_events(journal)
    header |= {"agent": "dqn", "settings": header["settings"] | {"agent": "dqn"}}
    journal.write_bytes(b"".join(map(encode_line, [header, *events])))
    assert outcome(resume(tmp_path / "cut")) == outcome(whole)
