"""What a user does: search, export, and run what the file itself says, in a process of its own."""

import ast
import json
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hpopt.export import export
from hpopt.export.material import load_base
from hpopt.record.folders import StudyFolder
from hpopt.record.recommended import Recommended
from hpopt_envs.schedules import learning_rate_at
from tests.hpopt.export.examples import Rows
from tests.hpopt.searching import search

# Before the file's own lines: the user's rows, and an eye on every step of a trainer.
PRELUDE = """\
import json, sys
from datasets import Dataset
from transformers import Trainer, TrainerCallback

train_dataset = Dataset.from_list(json.load(open(sys.argv[1])))
rates = []


class Watch(TrainerCallback):
    def on_pre_optimizer_step(self, *_, optimizer, **__):
        rates.append(optimizer.param_groups[0]["lr"])


make = Trainer.__init__


def watched(self, *args, **kwargs):
    make(self, *args, **kwargs)
    self.add_callback(Watch())


Trainer.__init__ = watched
"""
AFTER = """
trained = trainer.model
if hasattr(trained, "merge_and_unload"):
    trained = trained.merge_and_unload()
trained.save_pretrained(sys.argv[2])
tokenizer.save_pretrained(sys.argv[2])
json.dump(rates, open(sys.argv[3], "w"))
"""


@dataclass(frozen=True)
class Pasted:
    """What came of it.

    Attributes:
        recommended: what was exported.
        rates: learning rate of each of the trainer's steps.
        losses: the task's, on validation: of the base model, of the study's weights, and of those
            that the trainer made.
    """

    recommended: Recommended
    rates: list[float]
    losses: tuple[float, float, float]

    @property
    def wanted_rates(self) -> list[float]:
        """Those of the study's steps, but for a warm-up of whole steps, as trainers have it."""
        trial = self.recommended.example
        assert trial is not None
        steps = [
            dict(segment.hyperparameters)
            for segment in trial.path
            for _ in range(segment.optimizer_steps)
        ]
        if all(values == steps[0] and not values["divergence_weight"] for values in steps):
            warmup = math.ceil(steps[0]["warmup_fraction"] * len(steps)) / len(steps)
            steps = [values | {"warmup_fraction": warmup} for values in steps]
        sizes = [values["batch_size"] for values in steps]
        drawn = [sum(sizes[:step]) / sum(sizes) for step in range(len(steps))]
        places = [before * self.recommended.reach for before in drawn]
        return [learning_rate_at(*at) for at in zip(places, steps, strict=True)]


def paste(folder: Path, to: str, splits: Mapping[str, Rows], **asked: Any) -> Pasted:
    """Train the default configuration in a study, and again by its exported file.

    Args:
        folder: to work in.
        to: a trainer's library.
        splits: the user's rows: train, validation and test.
        asked: the study's settings.
    """
    files = {f"{name}_file": str(folder / f"{name}.jsonl") for name in splits}
    for name, rows in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    runs = folder / "runs"
    search(runs, **{"agent": "default", "trials": 1, "confirm_seeds": 0, **files, **asked})
    path = export("otter", str(runs), to, None)[0]
    rates = run_instructions(path, splits["train"], folder)
    study = StudyFolder.find("otter", str(runs), "test")
    recommended = Recommended.of(study.read(), "test")
    return Pasted(recommended, rates, losses(recommended, study.best, folder / "trained"))


def losses(recommended: Recommended, *folders: Path) -> Any:
    """The task's loss on validation of the base model, and of models in folders."""
    history = recommended.history
    task, base, data = load_base(history)
    models = [base, *(task.load_model(str(folder), 0) for folder in folders)]
    values = recommended.schedule.hyperparameters[0]
    found = []
    for model in models:
        with torch.no_grad():
            outputs = task.predict(model.eval(), data.validation)
        found.append(task.metrics_with(outputs, values)["loss"])
    return tuple(found)


def instructions(path: Path) -> str:
    """The script that a file begins with."""
    said = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""
    return textwrap.dedent(said.partition("\nUse, ")[2].partition("\n")[2])


def run_instructions(path: Path, rows: Rows, folder: Path) -> list[float]:
    """Run what a file says of its use, from another folder; return the steps' learning rates."""
    script = PRELUDE + instructions(path) + AFTER
    (folder / "user").mkdir()
    (folder / "rows.json").write_text(json.dumps(list(rows)))
    (folder / "user" / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py", folder / "rows.json", folder / "trained", folder / "rates"],
        cwd=folder / "user",
        env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[float] = json.loads((folder / "rates").read_text())
    return found
