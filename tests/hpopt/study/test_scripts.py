"""Studies of a training script of the user's own: real processes, tiny ones."""

import itertools
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hpopt.pool.processes import ProcessPool
from hpopt.record.folders import StudyFolder
from hpopt.record.journal import read_events
from hpopt.record.lines import Event
from hpopt.report.page.study import write_report
from hpopt.study.display import Display
from hpopt.study.result import StudyResult
from hpopt_envs.records import Outcome
from tests.hpopt.commands import alive, reasons, settings
from tests.hpopt.searching import KillAfter, Killed, events_of, resume, search

# The trial whose learning rate is the default ends otherwise than all others.
ODD = "\nif rate == 1e-4:\n    "


def ends(tmp_path: Path, body: str, **others: Any) -> list[tuple[str, str]]:
    """Outcomes and reasons of two trials, the first of them at the default."""
    result = search(tmp_path, **settings(tmp_path, body, trials=2, **others))
    assert [t.outcome for t in result.trials[1:]] == [Outcome.COMPLETED]
    return reasons(events_of(result))


def test_reports_are_segments_and_the_last_value_counts(tmp_path: Path) -> None:
    result = search(tmp_path, **settings(tmp_path))
    for trial in result.trials:
        rate, size = (trial.path[-1].hyperparameters[n] for n in ("learning_rate", "batch_size"))
        value = (
            (math.log10(float(rate)) + 2.5) ** 2 + int(size) / 100 + trial.seed % 2**31 % 7 / 1e3
        )
        steps = [value + 1, value + 1 / 2, value + 1 / 3, value + 1 / 3]
        assert [segment.objective for segment in trial.segments] == pytest.approx(steps)
        assert trial.value == pytest.approx(value + 1 / 3)
        assert 0 < trial.cost < 30
    assert result.trials[0].path[-1].hyperparameters == {"learning_rate": 1e-4, "batch_size": 8}
    assert result.history.cost_unit == "seconds"
    names = [f"trial-{trial.id:07d}" for trial in result.trials]
    assert sorted(path.name for path in (tmp_path / "otter" / "trials").iterdir()) == names
    assert {"snapshots", "best"}.isdisjoint(path.name for path in result.folder.iterdir())


def test_more_is_better_where_that_is_said(tmp_path: Path) -> None:
    result = search(tmp_path, **settings(tmp_path, value="eval_loss:max"))
    values = [-t.value for t in result.trials if t.value is not None]
    assert result.best_value == max(values)
    assert result.to_dataframe()["value"].tolist() == values


def test_tokens_are_the_cost_where_they_are_reported(tmp_path: Path) -> None:
    body = "for n in (1, 2): report(eval_loss=value, num_input_tokens_seen=100 * n * size)"
    result = search(tmp_path, **settings(tmp_path, body))
    sizes = [int(t.path[-1].hyperparameters["batch_size"]) for t in result.trials]
    assert [trial.cost for trial in result.trials] == [200.0 * size for size in sizes]
    assert result.history.cost_unit == "tokens"


@pytest.mark.parametrize(
    ("odd", "outcome", "words"),
    [
        ("sys.exit(3)", "failed", "exit status 3"),
        ("raise ValueError('too\\nlow')", "failed", "exit status 1: low"),
        ("os.kill(os.getpid(), 9)", "failed", "killed by signal 9"),
        ("report(eval_loss=1.0); sys.exit(4)", "failed", "exit status 4"),
        ("sys.exit()", "failed", "ended without a value of eval_loss"),
        ("report(eval_loss=math.nan); time.sleep(60)", "exploded", "eval_loss is nan"),
        ("report(eval_loss=math.inf); time.sleep(60)", "exploded", "eval_loss is inf"),
        (
            "sys.exit('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB')",
            "out_of_memory",
            "exit status 1: torch.OutOfMemoryError: CUDA out of memory.",
        ),
        ("time.sleep(60)", "failed", "said nothing for 1 s"),
        ("report(eval_loss=1.0); time.sleep(60)", "failed", "said nothing for 1 s"),
    ],
)
def test_a_failure_is_an_outcome_with_a_reason(
    tmp_path: Path, odd: str, outcome: str, words: str
) -> None:
    body = f"{ODD}{odd}\nreport(eval_loss=value)"
    (first, reason), _ = ends(tmp_path, body, silence_limit=1.0)
    assert first == outcome
    assert words in reason
    assert "\n" not in reason
    if outcome != "exploded":  # whose reason says it all
        file = Path(reason.rpartition("(")[2].rstrip(")"))
        assert file.parent == tmp_path / "otter" / "trials" / "trial-0000000"
        assert file.is_file()


def test_whoever_prints_isnt_silent(tmp_path: Path) -> None:
    body = "for n in range(8): time.sleep(0.2); print(n, flush=True)\nreport(eval_loss=value)"
    result = search(tmp_path, **settings(tmp_path, body, trials=1, silence_limit=1.0))
    assert [trial.outcome for trial in result.trials] == [Outcome.COMPLETED]


def test_a_study_whose_first_trials_all_fail_ends_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="trials must train, but the first 3 failed: exit status 2"):
        search(tmp_path, **settings(tmp_path, "sys.exit(2)", trials=9))


PRUNED = """
with open(os.path.join(folder, "process"), "w") as file: file.write(str(os.getpid()))
for step in range(6):
    report(step=step, eval_loss=value)
time.sleep(60 if rate > 1e-2 or rate < 1e-4 else 0)
"""


class Watch(Display):
    """Takes note of which processes of pruned trials ran on when the next trial began."""

    def __init__(self) -> None:
        self.pruned: list[int] = []
        self.left: list[int] = []

    def event(self, event: Event) -> None:
        assert self.study is not None
        self.left += filter(alive, self.pruned)
        if event["event"] == "closed":
            place = self.study.folder.trials / f"trial-{event['trial']:07d}"
            self.pruned.append(int((place / "output" / "process").read_text()))


def test_a_pruned_process_is_ended_at_once(tmp_path: Path) -> None:
    watch = Watch()
    asked = settings(tmp_path, PRUNED, trials=8, agent="random+median", silence_limit=2.0)
    result = search(tmp_path, watch, **asked)
    assert len(result.trials) == 8
    assert len(watch.pruned) == sum(trial.pruned for trial in result.trials) > 0
    assert not watch.left


def test_the_final_runs_on_fresh_seeds_and_says_that_there_is_no_test(tmp_path: Path) -> None:
    result = search(tmp_path, **settings(tmp_path, confirm_seeds=2))
    final = result.final
    assert final is not None
    assert max(len(runs) for runs in final.runs.values()) == 2
    for seed in (0, 1):
        assert len({runs[seed].seed for runs in final.runs.values() if runs[seed:]}) == 1
    assert all(len(run.segments) == 1 for runs in final.runs.values() for run in runs)
    assert "default" in final.runs
    assert "trial 0" not in final.runs  # it is the default


def test_by_default_the_final_is_half_of_the_search(tmp_path: Path) -> None:
    result = search(tmp_path, **settings(tmp_path, trials=8, confirm_seeds=None))
    assert 2 <= len(result.history.tests) <= 4


def test_without_a_seed_nothing_is_confirmed(tmp_path: Path) -> None:
    asked = settings(tmp_path, confirm_seeds=2)
    asked["command"] = asked["command"].replace("{seed}", "0")
    result = search(tmp_path, **asked)
    assert result.final is None
    assert any("has no {seed}" in note for note in result.facts.notes)


def test_workers_run_processes_side_by_side_and_share_devices_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    body = """
    device, began = float(os.environ["CUDA_VISIBLE_DEVICES"]), time.time()
    time.sleep(0.3)
    report(eval_loss=value, device=device, began=began, ended=time.time())
    """
    result = search(tmp_path, **settings(tmp_path, body, workers=2))
    ends = [trial.path[-1].metrics for trial in result.trials]
    assert {end["device"] for end in ends} == {2.0, 5.0}
    spans = sorted((end["began"], end["ended"]) for end in ends)
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))


class KillWorker(Display):
    """Kills a worker when its first script has reported."""

    def __init__(self) -> None:
        self.killed = False

    def event(self, event: Event) -> None:
        if event["event"] == "reply" and event["reply"]["segment"] and not self.killed:
            self.killed = True
            assert self.study is not None
            pool = self.study.pool
            assert isinstance(pool, ProcessPool)
            os.kill(pool.process_ids()[event["worker"]], signal.SIGKILL)


def test_a_trial_whose_worker_dies_is_run_again_and_its_script_is_ended(tmp_path: Path) -> None:
    body = PRUNED.replace("time.sleep(60 if rate > 1e-2 or rate < 1e-4 else 0)", "time.sleep(0.3)")
    kill = KillWorker()
    result = search(tmp_path, kill, **settings(tmp_path, body, trials=3, workers=2))
    assert kill.killed
    assert [trial.outcome for trial in result.trials] == [Outcome.COMPLETED] * 3
    assert len(list((result.folder / "trials").iterdir())) == 3  # no try that was cut off


def trained(result: StudyResult) -> list[Any]:
    """Everything about trials but what was spent beside them."""
    trials = result.history.trials.values()
    return [
        (t.seed, t.outcome, t.value, [(s.hyperparameters, s.metrics, s.cost) for s in t.segments])
        for t in trials
    ]


@pytest.mark.parametrize("events", [2, 5, 9, 14])
def test_a_killed_study_runs_the_interrupted_trial_again(tmp_path: Path, events: int) -> None:
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    body = "for n in (1, 2): report(eval_loss=value, num_input_tokens_seen=100 * n * size)"
    undisturbed = search(whole, **settings(whole, body, confirm_seeds=1))
    with pytest.raises(Killed):
        search(cut, KillAfter(events), **settings(cut, body, confirm_seeds=1))
    resumed = resume(cut)
    assert trained(resumed) == trained(undisturbed)
    assert resumed.why == undisturbed.why
    assert resumed.cost >= undisturbed.cost


def test_an_ended_study_is_extended(tmp_path: Path) -> None:
    search(tmp_path, **settings(tmp_path, trials=2))
    assert len(resume(tmp_path, trials=4).trials) == 4


def test_results_and_page_say_what_there_is(tmp_path: Path) -> None:
    result = search(tmp_path, **settings(tmp_path, confirm_seeds=1))
    summary = json.loads((result.folder / "result.json").read_text())
    assert summary["base_value"] is None
    schedule = json.loads((result.folder / "schedule.json").read_text())
    assert "{" not in schedule["command"]
    assert result.recommendation is not None
    assert schedule["command"] == result.recommendation.command
    text = write_report(StudyFolder(result.folder), result.history).read_text()
    assert "A command has no test split" in text
    assert f"Command to paste: {schedule['command']}" in text
    assert "base model" not in text.partition("<script")[0]
    assert "cost (seconds)" in text
    assert next(iter(read_events(result.folder / "journal.jsonl")))["facts"]["external"] is True
