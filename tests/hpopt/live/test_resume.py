"""A run that goes on from a checkpoint ends as if nothing had happened."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hpopt.errors import ControllerError
from hpopt.live import Controller
from tests.hpopt.live.runs import RATE, probes, rates, trainer, weights, words

# In the ramp, between its probes, where it rolls back, inside of stretches of the decay.
SAVED = {"save_strategy": "steps", "save_steps": 3, "learning_rate": 16 * RATE, "max_steps": 60}
RETAINED = words(8, seed=3)


def controller() -> Controller:
    return Controller(RETAINED, forgetting_weight=0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that was never interrupted, with all of its checkpoints."""
    ran = trainer(tmp_path_factory.mktemp("whole"), [controller()], **SAVED)
    ran.train()
    assert any(at["hpopt/rolled_back"] for at in probes(ran))
    return ran


def checkpoint(whole: Any, step: int, to: Path) -> str:
    shutil.copytree(Path(whole.args.output_dir) / f"checkpoint-{step}", to / f"checkpoint-{step}")
    return str(to / f"checkpoint-{step}")


@pytest.mark.parametrize("step", [3, 12, 24, 57])
def test_the_final_weights_are_the_same_to_the_bit(
    step: int, whole: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran = trainer(tmp_path / "out", [controller()], **SAVED)
    ran.train(resume_from_checkpoint=checkpoint(whole, step, tmp_path))
    assert f"goes on after step {step}" in caplog.text
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(ran)[name]), name
    assert rates(ran) == rates(whole)
    assert [at["hpopt/objective"] for at in probes(ran)] == [
        at["hpopt/objective"] for at in probes(whole)
    ]
    schedules = [Path(of.args.output_dir) / "schedule.json" for of in (ran, whole)]
    assert schedules[0].read_text() == schedules[1].read_text()


def test_a_checkpoint_has_no_pickle_of_ours(whole: Any) -> None:
    folder = Path(whole.args.output_dir) / "checkpoint-24"
    plain = {"optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin"}  # the trainer's
    ours = {path.name for path in folder.iterdir()} - plain
    assert {Path(name).suffix for name in ours} <= {".safetensors", ".json"}
    best = load_file(folder / "hpopt_best.safetensors")
    assert sum(name.startswith("parameter.") for name in best) == len(
        list(whole.model.parameters())
    )


def test_it_goes_on_with_the_same_run_alone(whole: Any, tmp_path: Path) -> None:
    folder = checkpoint(whole, 12, tmp_path)
    ran = trainer(tmp_path / "out", [controller()], **(SAVED | {"max_steps": 61}))
    with pytest.raises(ControllerError, match="steps: must be 60, as in the run that goes on"):
        ran.train(resume_from_checkpoint=folder)


def test_what_it_needs_must_be_there(whole: Any, tmp_path: Path) -> None:
    folder = checkpoint(whole, 12, tmp_path)
    for callback, said in (
        (Controller(forgetting_weight=0.5), "retain: must be texts, as in the run that goes on"),
        (Controller(RETAINED), "forgetting_weight: must be 0.5, as in the run that goes on"),
    ):
        with pytest.raises(ControllerError, match=said):
            trainer(tmp_path / "out", [callback], **SAVED).train(resume_from_checkpoint=folder)
    (Path(folder) / "hpopt_best.safetensors").unlink()
    with pytest.raises(ControllerError, match="must be a controller's best point"):
        trainer(tmp_path / "out", [controller()], **SAVED).train(resume_from_checkpoint=folder)
    state = json.loads((Path(folder) / "trainer_state.json").read_text())
    del state["stateful_callbacks"]["Controller"]
    (Path(folder) / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(ControllerError, match="must be a checkpoint of a run with a Controller"):
        trainer(tmp_path / "out", [controller()], **SAVED).train(resume_from_checkpoint=folder)
