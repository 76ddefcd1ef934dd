"""A controller among the callbacks of transformers' `Trainer`, TRL's `SFTTrainer`, `DPOTrainer`."""

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from ..errors import ControllerError
from .checks import check_trainer, running_trainer
from .probing import TrainerProbe, inner, metrics_aside, retained_ids
from .run import FORGETTING_WEIGHT, LiveRun, write_schedule
from .steering import OCTAVES, Point

BEST = "hpopt_best.safetensors"  # in a checkpoint's folder

logger = logging.getLogger("hpopt.live")


class Controller(TrainerCallback, ExportableState):
    """Finds the learning rate inside a run, goes back where training gets worse, decays to zero.

    `learning_rate` of the `TrainingArguments` is where it looks: 6 octaves below to 5 above. The
    run is as long as it was asked to be, what is tried and undone included. It replaces the rates
    of the scheduler, warm-up included, and keeps the ratios of parameter groups. A run that is
    too short is held at the given rate with its warm-up and linear decay.

    Args:
        retain: texts that the model must not forget, or rows with "text" or "input_ids"; the first
            512 tokens of 8 of them are probed. None for none: the loss alone is watched.
        forgetting_weight: what a nat of loss on them, above the base model's, counts beside a nat
            of training loss.

    Raises:
        ControllerError: one line, from `train()` before its first step, where the trainer can't be
            steered.
    """

    def __init__(self, retain: Any = None, *, forgetting_weight: float = FORGETTING_WEIGHT) -> None:
        self._retain, self._weight = retain, forgetting_weight
        self._run: LiveRun | None = None
        self._sized = False  # whether the size of the best point was told

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **at: Any,
    ) -> None:
        """Check the trainer, probe its model, and say what will be done."""
        self._trainer, checkpoint = running_trainer()
        self._sized = False
        check_trainer(self._trainer, Controller)
        saved = self._saved(state) if state.global_step else None
        retained = (
            [] if self._retain is None else retained_ids(self._retain, at.get("processing_class"))
        )
        base = None if saved is None else saved["base_retained_loss"]
        if saved is not None and (base is None) == bool(retained):
            must = "nothing" if base is None else "texts"
            raise ControllerError(f"retain: must be {must}, as in the run that goes on")
        self._probe = TrainerProbe(self._trainer, at["train_dataloader"], retained, base)
        self._run = LiveRun(
            self._trainer.model,
            inner(at["optimizer"]),
            state.max_steps,
            self._probe,
            warmup_steps=args.get_warmup_steps(state.max_steps),
            forgetting_weight=self._weight,
        )
        if saved is None:
            self._run.begin()
            self._announce()
        else:
            self._run.go_on(saved, Path(str(checkpoint)) / BEST)
            self._say(f"goes on after step {self._run.taken}")

    def _saved(self, state: TrainerState) -> dict[str, Any]:
        """Return what a checkpoint has of the controller."""
        stateful: Any = state.stateful_callbacks
        saved = stateful.get(type(self).__name__, {}).get("attributes")
        if not saved:
            raise ControllerError(
                "resume_from_checkpoint: must be a checkpoint of a run with a Controller, but that "
                "one has none"
            )
        return dict(saved)

    def _announce(self) -> None:
        assert self._run is not None
        asked = self._run.asked
        rate = f"learning rate {asked.learning_rate:.3g}"
        if not self._run.is_steered:
            self._say(
                f"{asked.steps} steps are too few for a ramp, which needs {asked.fewest_steps}: "
                f"{rate} is held, with linear decay and {asked.warmup_steps} steps of warm-up"
            )
            return
        low, high = (f"{rate:.3g}" for rate in (asked.range.low, asked.range.high))
        self._say(f"takes over {rate}: between {low} and {high} it finds its own")
        if asked.warmup_steps:
            self._say(
                f"the {asked.warmup_steps} steps of warm-up aren't taken: its ramp begins "
                f"{2 ** -OCTAVES[0]:.0f} times below the given rate, and is one"
            )

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **at: Any,
    ) -> None:
        """Set the learning rates of a step."""
        assert self._run is not None
        at["lr_scheduler"]._last_lr = self._run.set_rates()  # what the trainer logs

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **at: Any,
    ) -> None:
        """Probe where a stretch ends, and go back where that is worse."""
        assert self._run is not None
        point = self._run.stepped()
        if point is None:
            return
        logs = control.should_log
        self._log(point)
        control.should_log = logs  # which logging unsets, and the trainer's own line is to come
        if point.best and not self._sized:
            self._sized = True
            size, place = self._run.snapshot.bytes / 2**20, self._run.snapshot.place
            self._say(
                f"the best point is kept with the optimizer's state: {size:.1f} MiB on {place}"
            )

    def _log(self, point: Point) -> None:
        numbers = {
            "hpopt/learning_rate": point.rate,
            "hpopt/probe_loss": point.probed.loss,
            "hpopt/objective": point.objective,
            "hpopt/rolled_back": float(point.back_to is not None),
        }
        if point.probed.forgetting is not None:
            numbers["hpopt/probe_forgetting"] = point.probed.forgetting
        with metrics_aside(self._trainer):
            self._trainer.log(numbers)
        if point.why:
            self._say(f"after step {point.step}, {point.why}")

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **at: Any,
    ) -> None:
        """Put the best point into the checkpoint."""
        assert self._run is not None
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if args.should_save and self._run.is_steered:
            self._run.snapshot.save(folder / BEST)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **at: Any,
    ) -> None:
        """Write `schedule.json` into the output folder."""
        assert self._run is not None
        if args.should_save:
            path = Path(str(args.output_dir)) / "schedule.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            batch = self._trainer.get_total_train_batch_size(args)
            write_schedule(self._run.schedule({"batch_size": batch}), path)
            self._say(f"the schedule that led to these weights is in {path}")

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, see `transformers.trainer_callback.ExportableState`."""
        if self._run is None:
            return {"args": {}, "attributes": {}}
        base = {"base_retained_loss": self._probe.base_retained_loss}
        return {"args": {}, "attributes": {**self._run.to_json(), **base}}

    def _say(self, sentence: str) -> None:
        if self._trainer.is_world_process_zero():
            logger.warning("hpopt.live.Controller: %s", sentence)
