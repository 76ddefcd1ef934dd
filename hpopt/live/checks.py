"""What a controller can't steer is refused before the first step, in a line."""

import sys
from typing import Any

import torch
from transformers import Trainer

from ..errors import ControllerError
from .probing import inner

OWN_RATES = ("LayerWiseDummyOptimizer", "LOMO", "AdaLomo", "Lomo")  # no step of theirs is seen


def running_trainer() -> tuple[Any, str | None]:
    """Return the trainer whose loop calls back now, and the checkpoint that it goes on from.

    Callbacks aren't given their trainer, and only it knows its loss; so it is taken from the stack.

    Raises:
        ControllerError: it isn't transformers' ordinary loop.
    """
    frame, loop = sys._getframe(), Trainer._inner_training_loop.__code__
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is loop:
            return frame.f_locals["self"], frame.f_locals["resume_from_checkpoint"]
    raise ControllerError(
        "Controller: must be among the callbacks of a trainer with the loop of transformers' "
        "Trainer, but another one calls it"
    )


def check_trainer(trainer: Any, controller: type) -> None:
    """Make sure that a trainer can be steered.

    Args:
        trainer: whose loop is about to begin.
        controller: the class of controllers.

    Raises:
        ControllerError: it can't.
    """
    args, name = trainer.args, type(trainer).__name__
    count = sum(isinstance(c, controller) for c in trainer.callback_handler.callbacks)
    _require(count == 1, "callbacks: must have one Controller", f"{count}")
    _require(
        not trainer.is_deepspeed_enabled and not trainer.is_fsdp_enabled,
        "a Controller must go with one device or DDP, since it copies whole tensors",
        "DeepSpeed" if trainer.is_deepspeed_enabled else "FSDP",
    )
    _require(
        type(trainer)._prepare_inputs is Trainer._prepare_inputs,
        "a Controller must go with a loss on given rows, which a probe can compare",
        f"{name}, which makes its batches itself",
    )
    _require(
        not args.restore_callback_states_from_checkpoint,
        "restore_callback_states_from_checkpoint: must be False, since a Controller finds its own "
        "state",
        "True",
    )
    _require(
        not trainer.state.is_hyper_param_search,
        "a Controller must go with train(), since it finds the learning rate of a run",
        "hyperparameter_search()",
    )
    _check_optimizer(inner(trainer.optimizer), trainer.lr_scheduler)


def _check_optimizer(optimizer: Any, scheduler: Any) -> None:
    kind = type(optimizer).__name__
    _require(optimizer is not None, "optimizer: must be there before training", "none")
    _require(
        kind not in OWN_RATES and not optimizer.defaults.get("relative_step"),
        "optimizer: must take its learning rate from its parameter groups",
        kind,
    )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    whole = not any(hasattr(parameter, "placements") for parameter in parameters)
    _require(whole, "parameters: must be whole tensors, not shards", "DTensor")
    _require(
        isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR),
        "lr_scheduler: must be a LambdaLR, whose learning rates can be replaced",
        type(scheduler).__name__,
    )


def _require(holds: bool, what: str, got: str) -> None:
    if not holds:
        raise ControllerError(f"{what}, but got {got}")
