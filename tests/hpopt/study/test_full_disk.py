"""Where nothing can be written a study pauses, and goes on once there is room."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import Paused
from hpopt.record.lines import Event
from hpopt.study.display import Display
from hpopt.study.opening import begin
from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.messages import Advance, Start
from hpopt_envs.records import Outcome
from hpopt_envs.serving import build, serve
from tests.hpopt.asking import asked
from tests.hpopt.searching import SMALL, outcome, resume, run, search


@pytest.mark.parametrize("workers", [1, 2])
def test_a_snapshot_that_cannot_be_written_pauses_the_study(workers: int, tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", workers=workers)
    runs = tmp_path / "full"
    study = begin(asked({**SMALL, "runs": str(runs), "name": "otter", "workers": workers}))
    in_the_way = study.folder.snapshots / "trial-0000002-0003.part"

    class Filling(Display):
        def event(self, event: Event) -> None:
            here = event["event"] == "decision" and event["trial"] == 2
            if here and len(self.history.trials[2].segments) == 2:
                in_the_way.mkdir(exist_ok=True)

    for use in (lambda: run(study, Filling()), lambda: resume(runs)):
        with pytest.raises(Paused, match=r"snapshot .* can't be written: .*`.*resume otter .*`"):
            use()
    in_the_way.rmdir()
    result = resume(runs)
    assert Outcome.FAILED not in {t.outcome for t in result.trials}
    values = [[t.value for t in s.trials] for s in (whole, result)]
    assert values[0] == values[1]
    assert workers > 1 or outcome(result)[:3] == outcome(whole)[:3]


def test_a_result_that_cannot_be_written_pauses_the_study(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole")
    runs = tmp_path / "full"
    study = begin(asked({**SMALL, "runs": str(runs), "name": "otter"}))
    study.folder.result.mkdir()
    with pytest.raises(Paused, match=r"result.json.*`.*resume otter .*` goes on"):
        run(study)
    study.folder.result.rmdir()
    assert outcome(resume(runs)) == outcome(whole)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_a_task_that_finds_the_disk_full_has_not_failed(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "cache")

    env = build("hpopt_envs.factory:make_env", {"task": "simulated", "view": "absolute"})
    serve(env, Start(0, seed=0))
    monkeypatch.setattr(env.run, "advance", full)
    reply = serve(env, Advance(absolute_action(env.space.default_unit)))
    assert (reply.outcome is None) is (number != errno.EACCES)
    assert ("cache" in reply.stuck) is (number != errno.EACCES)
