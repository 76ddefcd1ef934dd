"""What a controller inside a run is worth, beside that run without one and optimizers that tune.

    python benchmarks/live.py --out FILE.jsonl [--tasks lm,lm-lora] [--seeds 3] [--tokens 32768]

Runs of transformers' `Trainer` on embedded tasks, from the same weights, rows and number of steps:
AdamW with linear decay at powers of two around the default learning rate (the grid); the best of
them 16 times too low and too high, without and with `hpopt.live.Controller`, whose ramp and
roll-backs are part of its steps; Prodigy (`prodigyopt`) and Schedule-Free AdamW (`schedulefree`) at
what their authors document, constant at 1 and at 0.0025. The objective is that of the task on its
whole validation set, without a penalty for any. `overhead` is the controller's processor time
beside that of the grid, probes and snapshots included. Lines of FILE are runs; what it has isn't
run again.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import t as student  # type: ignore[import-untyped]
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from hpopt.live import Controller
from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.training.optimizers import as_measured, build_optimizer

TASKS = "lm,lm-lora,lm-shallow,lm-untrained,lm-raises,classify"
OCTAVES = range(-4, 5)  # of the grid, around the default
OFF = (1 / 16, 16.0)  # what the other runs begin at, relative to the grid's best
RIVALS = {"prodigy": 1.0, "schedule-free": 0.0025}
CONFIDENCE = 0.8
Key = tuple[str, str, float, int]  # task, who, learning rate, seed


class TaskTrainer(Trainer):
    """A `Trainer` on the rows and the loss of an hpopt task."""

    def __init__(
        self, task: Any, rows: Any, values: Any, model: Any, asked: TrainingArguments, **how: Any
    ) -> None:
        self._task, self._values = task, values

        def collate(numbers: list[int]) -> dict[str, torch.Tensor]:
            return {name: tensor[numbers] for name, tensor in rows.items()}

        count = len(next(iter(rows.values())))
        numbered: Any = list(range(count))
        super().__init__(model, asked, train_dataset=numbered, data_collator=collate, **how)

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        total: torch.Tensor = self._task.loss_sum_with(model, inputs, self._values)
        count: int = self._task.loss_count(inputs)
        return total / count


class Runs:
    """Runs trainers, and remembers what they came to in a file."""

    def __init__(self, file: Path, tokens: int) -> None:
        self._file, self._tokens = file, tokens
        self._envs: dict[str, FineTuneEnv] = {}
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in lines]
        self.rows: dict[Key, dict[str, Any]] = {
            (row["task"], row["who"], row["learning_rate"], row["seed"]): row for row in rows
        }

    def env(self, task: str) -> FineTuneEnv:
        if task not in self._envs:
            made = make_env(task, trial_tokens=self._tokens, validate_segments=False, device="cpu")
            self._envs = {task: made}
        return self._envs[task]

    def value(self, task: str, who: str, rate: float, seed: int) -> float:
        """Return the objective of a run, as minimised; infinity where it isn't finite."""
        if (task, who, rate, seed) not in self.rows:
            key = {"task": task, "who": who, "learning_rate": rate, "seed": seed}
            row = key | self._run(task, who, rate, seed)
            self.rows[task, who, rate, seed] = row
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        value = self.rows[task, who, rate, seed]["objective"]
        return math.inf if value is None else float(value)

    def _run(self, task: str, who: str, rate: float, seed: int) -> dict[str, Any]:
        env = self.env(task)
        run: Any = env.run
        values = {**HELD_SHAPE, **env.facts.fixed, **env.space.defaults(), "divergence_weight": 0.0}
        state, data = run.start(seed), run._evaluator.data
        set_seed(seed)
        run._activate(state, values)
        steps = env.facts.trial_tokens // (int(values["batch_size"]) * env.facts.sequence_length)
        with tempfile.TemporaryDirectory() as out:
            trainer = TaskTrainer(
                run.task,
                data.train,
                values,
                run.weights.model,
                _arguments(out, steps, int(values["batch_size"]), rate, seed),
                optimizers=_rival(who, rate, run.weights.parameters),
                callbacks=[_controller(env, data)] if who == "controller" else [],
            )
            trainer.remove_callback(PrinterCallback)
            begun = time.process_time()
            trainer.train()
            seconds = time.process_time() - begun
        inner: Any = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        with as_measured(inner):
            evaluation = run._evaluator.evaluate("validation", True, values)
        finite = math.isfinite(evaluation.objective)
        return {
            "objective": evaluation.objective if finite else None,
            "base": env.facts.base_objective,
            "metrics": dict(evaluation.metrics),
            "steps": trainer.state.global_step,
            "seconds": seconds,
        }


def _arguments(out: str, steps: int, batch: int, rate: float, seed: int) -> TrainingArguments:
    return TrainingArguments(
        out,
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        warmup_steps=round(0.03 * steps),
        weight_decay=0.01,
        seed=seed,
        use_cpu=True,
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _rival(who: str, rate: float, parameters: Sequence[torch.nn.Parameter]) -> tuple[Any, Any]:
    """Return an optimizer that tunes itself, at a constant learning rate; none for AdamW."""
    if who not in RIVALS:
        return None, None
    optimizer = build_optimizer(who, parameters)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return optimizer, LambdaLR(optimizer, lambda step: 1.0)


def _controller(env: FineTuneEnv, data: Any) -> Controller:
    """Return a controller that watches the task's own objective."""
    kept = data.retained_train
    weight = env.facts.forgetting_weight / env.facts.objective_scale
    if kept is None or not weight:
        return Controller()
    lengths = env.run.task.example_tokens(kept).tolist()  # type: ignore[attr-defined]
    rows = [ids[:n] for ids, n in zip(kept["input_ids"].tolist(), lengths, strict=True)]
    return Controller([{"input_ids": ids} for ids in rows], forgetting_weight=weight)


def table(runs: Runs, tasks: Sequence[str], seeds: int) -> Iterator[str]:
    """Yield the lines of a Markdown table; what is better is lower."""
    heads = ["task", "base", "best of the grid", *("1/16 of it", "controller from there")]
    heads += ["16 times it", "controller from there", *RIVALS, "overhead"]
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join(['---'] * len(heads))} |"
    for task in tasks:
        default = float(runs.env(task).space.defaults()["learning_rate"])
        grid = [default * 2.0**octave for octave in OCTAVES]
        at = {
            rate: [runs.value(task, "adamw", rate, seed) for seed in range(seeds)] for rate in grid
        }
        best = min(at, key=lambda rate: mean(at[rate]))
        cells = [task, f"{runs.env(task).facts.base_objective:.3f}"]
        cells.append(f"{_interval(at[best])} at {best:.2g}")
        for off in OFF:
            for who in ("adamw", "controller"):
                cells.append(
                    _interval([runs.value(task, who, off * best, s) for s in range(seeds)])
                )
        for who, rate in RIVALS.items():
            cells.append(_interval([runs.value(task, who, rate, s) for s in range(seeds)]))
        cells.append(
            f"{_seconds(runs, task, 'controller') / _seconds(runs, task, 'adamw') - 1:+.0%}"
        )
        yield f"| {' | '.join(cells)} |"


def _seconds(runs: Runs, task: str, who: str) -> float:
    return mean(float(row["seconds"]) for key, row in runs.rows.items() if key[:2] == (task, who))


def _interval(values: Sequence[float]) -> str:
    """Return a mean, with its interval where there are more seeds than one."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    width = student.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * stdev(values)
    return f"{mean(values):.3f} ± {width / math.sqrt(len(values)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32_768, help="training tokens of each run")
    asked = parser.parse_args()
    for line in table(Runs(asked.out, asked.tokens), asked.tasks.split(","), asked.seeds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
