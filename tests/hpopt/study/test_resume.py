"""A study that was killed, at whatever instant, comes to what it would have come to undisturbed.

Kills are simulated here, at chosen places and cheaply; `test_kill.py` has real ones.
"""

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.record.history import FIRST_TEST
from hpopt.record.journal import Journal, read_events
from hpopt.record.lines import Event, encode_line
from hpopt.searchers.registry import AGENTS
from hpopt.study.result import StudyResult
from hpopt_envs import Control
from hpopt_envs.episode.features import OBSERVATION_VERSION
from hpopt_envs.factory import make_env
from hpopt_search_spaces import auto
from tests.hpopt.searching import (
    SMALL,
    KillAfter,
    Killed,
    events_of,
    final_of,
    killed,
    outcome,
    resume,
    search,
    tear,
    told,
)

SEARCHERS = [
    *((agent, "median") for agent, spec in AGENTS.items() if spec.prunable),
    # A portfolio needs other studies: it has a test of its own.
    *((a, "none") for a, spec in AGENTS.items() if not spec.prunable and a != "portfolio"),
    ("tpe", "hyperband"),
    ("tpe", "successive-halving"),
]
ONE_A_FAMILY = [("tpe", "median"), ("ppo", "none")]


Undisturbed = Callable[..., StudyResult]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Studies that nobody killed, each run once."""
    known: dict[str, StudyResult] = {}

    def find(**settings: Any) -> StudyResult:
        name = json.dumps(settings)
        if name not in known:
            known[name] = search(tmp_path_factory.mktemp("undisturbed"), **settings)
        return known[name]

    return find


@pytest.mark.parametrize(("agent", "pruner"), SEARCHERS)
def test_a_killed_study_goes_on_as_if_nothing_had_happened(
    agent: str, pruner: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    whole = undisturbed(agent=agent, pruner=pruner)
    draw = random.Random(f"{agent} {pruner}")
    for number in range(4 if (agent, pruner) in ONE_A_FAMILY else 2):
        runs, count = tmp_path / str(number), draw.randrange(1, len(events_of(whole)))
        tear(killed(runs, count, agent=agent, pruner=pruner), draw)
        assert outcome(resume(runs)) == outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "pruner"), ONE_A_FAMILY)
def test_a_kill_after_any_event_costs_nothing(
    agent: str, pruner: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    whole = undisturbed(agent=agent, pruner=pruner)
    for count in range(1, len(events_of(whole))):
        killed(tmp_path / str(count), count, agent=agent, pruner=pruner)
        assert outcome(resume(tmp_path / str(count))) == outcome(whole), count


@pytest.mark.parametrize(("agent", "pruner"), ONE_A_FAMILY)
def test_a_study_that_is_killed_again_and_again_gets_there(
    agent: str, pruner: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    whole = undisturbed(agent=agent, pruner=pruner)
    draw = random.Random(0)
    journal, result = killed(tmp_path, 11, agent=agent, pruner=pruner), None
    while result is None:
        tear(journal, draw)
        with contextlib.suppress(Killed):
            result = resume(tmp_path, KillAfter(12))
    assert outcome(result) == outcome(whole)


def test_the_winner_s_weights_are_those_of_its_schedule(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", agent="ppo")
    killed(tmp_path / "killed", len(events_of(whole)) - 5, agent="ppo")
    result = resume(tmp_path / "killed")
    assert result.best is not None
    env = make_env("simulated", trial_tokens=SMALL["trial_tokens"])
    env.reset(seed=result.best.seed)
    for hyperparameters in result.schedule:
        env.train(hyperparameters)
    env.save_weights(tmp_path)
    expected = (tmp_path / "weights.json").read_text()
    assert (result.folder / "best" / "weights.json").read_text() == expected


@pytest.mark.parametrize("events", [1, 6, 14])
def test_a_kill_during_the_confirmation_costs_nothing(
    events: int, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    whole = undisturbed(agent="tpe", pruner="median")
    before = [event.get("trial", 0) < FIRST_TEST for event in events_of(whole)].count(True)
    killed(tmp_path, before - 1 + events, agent="tpe", pruner="median")
    assert outcome(resume(tmp_path)) == outcome(whole)


@pytest.mark.parametrize(("agent", "pruner"), [*ONE_A_FAMILY, ("grid", "none")])
def test_resuming_a_finished_study_changes_nothing(
    agent: str, pruner: str, undisturbed: Undisturbed
) -> None:
    whole = undisturbed(agent=agent, pruner=pruner)
    files = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    again = resume(whole.folder.parent)
    assert outcome(again) == outcome(whole)
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize(("agent", "pruner"), ONE_A_FAMILY)
def test_an_extended_study_may_be_killed_too(agent: str, pruner: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    for name in ("whole", "killed"):
        search(tmp_path / name, agent=agent, pruner=pruner, trials=3)
    whole = resume(tmp_path / "whole", trials=6)
    assert whole.history.training_tokens > 5 * whole.facts.trial_tokens
    for count in (1, 9, 30):
        with pytest.raises(Killed):
            resume(tmp_path / "killed", KillAfter(count), trials=6)
        tear(tmp_path / "killed" / "otter" / "journal.jsonl", draw)
    assert outcome(resume(tmp_path / "killed")) == outcome(whole)


def test_an_extension_keeps_what_the_first_budget_set(tmp_path: Path) -> None:
    """TPE's first trials are random: a fifth of the budget, at least three."""
    settings: dict[str, Any] = {"agent": "tpe", "confirm_seeds": 0}
    for name, trials in (("once", 3), ("twice", 3), ("fresh", 24)):
        search(tmp_path / name, trials=trials, **settings)
    resume(tmp_path / "twice", trials=11)
    twice, once = resume(tmp_path / "twice", trials=24), resume(tmp_path / "once", trials=24)
    fresh = resume(tmp_path / "fresh")
    assert [told(trial) for trial in twice.trials] == [told(trial) for trial in once.trials]
    assert [told(trial) for trial in once.trials] != [told(trial) for trial in fresh.trials]


def test_an_extension_in_the_middle_of_the_final_gives_that_up(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", trials=3)
    before = [event.get("trial", 0) < FIRST_TEST for event in events_of(whole)].count(True)
    killed(tmp_path / "killed", before + 4, trials=3)
    extended, expected = (resume(tmp_path / name, trials=5) for name in ("killed", "whole"))
    assert [t.value for t in extended.trials] == [t.value for t in expected.trials]
    assert final_of(extended) == final_of(expected)


def test_a_study_in_use_is_refused(tmp_path: Path) -> None:
    journal = killed(tmp_path, 20)
    line = r"study 'otter' is in use by another process \(id \d+\)$"
    with Journal.open(journal), pytest.raises(StudyError, match=line):
        resume(tmp_path)


def rewrite(journal: Path, index: int, change: Callable[[Event], None]) -> bytes:
    """Change an event as no process of ours would; return the whole journal."""
    events = list(read_events(journal))
    change(events[index])
    journal.write_bytes(b"".join(map(encode_line, events)))
    return journal.read_bytes()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("data", lambda header: header["facts"].update(data_hash="other data")),
        ("model", lambda header: header["facts"].update(model_hash="other weights")),
        ("torch", lambda header: header["versions"].update(torch="1.0")),
        ("python", lambda header: header["versions"].update(python="2.7")),
        ("hpopt", lambda header: header["versions"].update(hpopt="0.1.0")),
    ],
)
def test_what_a_study_depends_on_must_be_the_same(
    what: str, change: Callable[[Event], None], tmp_path: Path
) -> None:
    journal = killed(tmp_path, 20)
    before = rewrite(journal, 0, change)
    line = f"^resume: (the )?{what} must be what the study 'otter' began with, .* but got [^\n]*$"
    with pytest.raises(StudyError, match=line):
        resume(tmp_path, trials=9)
    assert journal.read_bytes() == before


def test_a_study_goes_on_with_its_own_space_where_the_rules_of_auto_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(tmp_path / "whole")
    killed(tmp_path / "killed", 20)
    monkeypatch.setitem(auto.RULES, "divergence_weight", lambda facts: 7.0)
    monkeypatch.setitem(auto.RULES, "learning_rate", lambda facts: 1.0)
    assert search(tmp_path / "new").space.defaults()["divergence_weight"] == 7.0
    resumed = resume(tmp_path / "killed")
    assert resumed.space == whole.space
    assert [t.value for t in resumed.trials] == [t.value for t in whole.trials]


def test_a_study_of_an_earlier_version_that_is_known_to_fit_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = killed(tmp_path, 20)
    before = {"hpopt": "0.1.9", "observation": "1"}
    rewrite(journal, 0, lambda header: header["versions"].update(before))
    monkeypatch.setattr("hpopt.study.header.GO_ON", {name: (v,) for name, v in before.items()})
    assert len(resume(tmp_path).trials) == 6


@pytest.mark.parametrize("agent", ["ppo", "a2c"])
def test_a_policy_of_before_version_3_of_the_observation_begins_as_it_did(
    agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked to roll back or to probe in every other segment, and neither did anything."""
    shares = []
    for version in (2, OBSERVATION_VERSION):
        with monkeypatch.context() as then:
            then.setattr("hpopt.study.header.OBSERVATION_VERSION", version)
            journal = killed(tmp_path / str(version), 40, agent=agent)
        asked = [
            event["request"]["action"]
            for event in read_events(journal)
            if "request" in event and "action" in event["request"]
        ]
        shares.append(sum(action[-1] >= Control.ROLL_BACK.value for action in asked) / len(asked))
    assert shares[0] > 0.3 > 0.2 > shares[1]
    assert len(resume(tmp_path / "2").trials) >= 6


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("objective", lambda facts: facts.update(base_objective=-facts["base_objective"])),
        ("loss", lambda facts: facts["base_metrics"].update(loss=1.5)),
        ("accuracy", lambda facts: facts["base_metrics"].update(accuracy=0.5)),
    ],
)
def test_the_base_model_must_be_judged_as_before(
    name: str, change: Callable[[Event], None], tmp_path: Path
) -> None:
    journal = killed(tmp_path, 20)
    before = rewrite(journal, 0, lambda header: change(header["facts"]))
    line = f"^resume: the base model must be judged as when .* with {name} [^\n]*another[?]$"
    with pytest.raises(StudyError, match=line):
        resume(tmp_path, trials=9)
    assert journal.read_bytes() == before


def test_rounding_of_another_machine_is_no_other_judgement(tmp_path: Path) -> None:
    journal = killed(tmp_path, 20)
    rewrite(
        journal, 0, lambda h: h["facts"].update(base_objective=1e-6 + h["facts"]["base_objective"])
    )
    assert resume(tmp_path, trials=3).best is not None


def test_a_journal_that_tells_another_story_is_refused(tmp_path: Path) -> None:
    journal = killed(tmp_path, 20)
    decisions = [i for i, e in enumerate(read_events(journal)) if e["event"] == "decision"]

    def change(event: Event) -> None:
        event["request"]["hyperparameters"]["learning_rate"] *= 1.01

    before = rewrite(journal, decisions[3], change)
    line = "^a resumed study must decide as its journal says, but decided [^\n]*$"
    with pytest.raises(StudyError, match=line):
        resume(tmp_path)
    rewrite(journal, decisions[3] + 1, lambda event: event.update(worker=1))
    with pytest.raises(StudyError, match="a resumed study must"):
        resume(tmp_path)
    assert len(journal.read_bytes()) == len(before)
    assert b'"resumed"' not in journal.read_bytes()
