"""What a study says of tasks that write: their settings, their own limit, who can decide."""

import dataclasses
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from hpopt.cli.display import LineDisplay
from hpopt.cli.entry import main
from hpopt.comparison.settings import ComparisonSettings
from hpopt.errors import StudyError
from hpopt.pool.budget import Budget, Limits
from hpopt.record.history import History
from hpopt.record.journal import read_events
from hpopt.report.page.summary import summary
from hpopt.searchers.registry import check_space, choose_agent, find_agent
from hpopt.settings.config import read_config
from hpopt.settings.study import Settings
from hpopt.study.dry_run import dry_run
from hpopt.study.header import environment_settings
from hpopt.study.opening import begin, take_up
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_search_spaces import SearchSpace
from tests.hpopt.scripted import scripted

OWN_LIMIT = {"default_max_divergence": 0.5}
TYPED = [
    *("--constraint", "regex:^Return=0.5", "--constraint", "length:12=0.9"),
    *("--samples-per-prompt", "4", "--max-new-tokens", "16", "--max-divergence", "none"),
]
CONFIG = """
constraint = ["regex:^Return=0.5", "length:12=0.9"]
samples_per_prompt = 4
max_new_tokens = 16
max_divergence = "none"
"""
GIVEN = {
    "constraint": ["regex:^Return=0.5", "length:12=0.9"],
    "samples_per_prompt": 4,
    "max_new_tokens": 16,
    "max_divergence": "none",
}


def test_a_file_the_command_line_and_python_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed: list[Settings] = []

    def note(settings: Settings) -> str:
        typed.append(settings)
        return ""

    monkeypatch.setattr("hpopt.study.dry_run.dry_run", note)
    (tmp_path / "study.toml").write_text(CONFIG)
    for arguments in (TYPED, ["--config", str(tmp_path / "study.toml")]):
        assert main(["search", "--dry-run", *arguments]) == 0
    assert (
        typed
        == [Settings.of(GIVEN)] * 2
        == [Settings.of(read_config(f"{tmp_path}/study.toml"))] * 2
    )
    environment = json.loads(json.dumps(environment_settings(typed[0], find_agent("tpe"))))
    asked = {name: value for name, value in GIVEN.items() if name != "max_divergence"}
    assert (environment["data"], environment["max_divergence"]) == (asked, "none")


def unprobed(**arguments: Any) -> FineTuneEnv:
    """The simulated task, as if it drew its examples anew in every step; and with its own limit."""
    env = make_env(**arguments | {"data": {}})
    limit = 0.5 if env.facts.max_divergence is None else env.facts.max_divergence
    env.run.facts = dataclasses.replace(  # type: ignore[misc]
        env.run.facts, has_probe=False, default_max_divergence=limit
    )
    return env


def test_a_journal_keeps_them_and_the_agent_is_one_that_needs_no_probe(tmp_path: Path) -> None:
    asked = Settings.of(GIVEN | {"task": "simulated", "name": "otter", "runs": str(tmp_path)})
    factory = f"{__name__}:unprobed"
    with begin(asked, factory=factory) as study:
        header = next(read_events(study.folder.journal))
    assert header["agent"] == "tpe"
    assert header["settings"]["constraint"] == header["environment"]["data"]["constraint"]
    assert header["settings"] | GIVEN == header["settings"]
    with take_up("otter", str(tmp_path), {}, factory) as study:
        assert study.settings == asked.changed(agent="tpe")
    with pytest.raises(StudyError, match="range-test needs a task with a loss on fixed") as refused:
        begin(asked.changed(agent="range-test", name="other"), factory=factory)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "other").exists()


def test_a_comparison_is_the_same_after_it_was_written_down() -> None:
    compared = ComparisonSettings.of({"task": "align", **GIVEN})
    assert ComparisonSettings.from_json(compared.to_json()) == compared


@pytest.mark.parametrize(
    ("agent", "pruner", "has_probe", "chosen"),
    [
        ("auto", "none", True, "learned"),
        ("auto", "none", False, "tpe"),
        ("auto", "median", True, "tpe"),
        ("gp", "none", False, "gp"),
    ],
)
def test_the_agent_is_left_to_us(
    space: SearchSpace, agent: str, pruner: str, has_probe: bool, chosen: str
) -> None:
    assert choose_agent(agent, pruner, space, has_probe) == chosen
    check_space(chosen, space, has_probe)


def test_a_dry_run_refuses_what_a_search_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpopt.study.dry_run.make_env", unprobed)
    asked = Settings.of({"task": "simulated", "agent": "range-test"})
    with pytest.raises(StudyError, match="range-test needs a task with a loss on fixed examples"):
        dry_run(asked)
    assert "16 segments" in dry_run(asked.changed(agent="auto"))


@pytest.mark.parametrize(
    ("facts", "limit", "warned"),
    [
        ({}, None, False),
        ({"max_divergence": 0.25}, "divergence ≤ 0.25 nats", False),
        (OWN_LIMIT | {"max_divergence": 0.25}, "divergence ≤ 0.25 nats", False),
        (OWN_LIMIT | {"max_divergence": 0.5}, "divergence ≤ 0.5 nats (the task's default)", False),
        (OWN_LIMIT, None, True),
    ],
)
def test_a_task_s_own_limit_is_told_and_warned_of_where_it_is_switched_off(
    new_script: Callable[..., Any],
    space: SearchSpace,
    capsys: pytest.CaptureFixture[str],
    facts: dict[str, Any],
    limit: str | None,
    warned: bool,
    tmp_path: Path,
) -> None:
    script, history = new_script(**facts), History()
    script.trial(0, 3.0)
    for event in script.events:
        history.apply({"name": "otter", **event})
    asked = Settings.of({"agent": "tpe"})
    budget = Budget(Limits(trials=1), history.facts, validate_segments=True)
    header = {"name": "otter", "environment": {"data": {}}, **script.events[0]}
    study = scripted(tmp_path / "journal.jsonl", header, history, space, asked)
    LineDisplay().begin(study, history, budget, None)
    lines = capsys.readouterr().out.splitlines()
    (objective,) = [line for line in lines if line.startswith("objective: ")]
    told = re.search(r", subject to (.*); base model", objective)
    assert (told and told[1]) == limit
    page = unescape(summary(history, None, "too few trials"))
    for text in ("\n".join(lines), page):
        assert ("There is no limit on divergence" in text) is warned
        assert ("The task's own limit is 0.5 nats." in text) is warned
