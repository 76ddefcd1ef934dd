"""What a trainer's own arguments can say of a schedule, and what it can't be told at all."""

from typing import Any

from hpopt_envs.references import is_reference
from hpopt_envs.tasks.align import Alignment
from hpopt_envs.tasks.classify import Classification
from hpopt_envs.tasks.dpo import DIVERGENCE_ALPHA, PreferenceOptimization
from hpopt_envs.tasks.lm import LanguageModeling
from hpopt_envs.tasks.text2text import TextToText
from hpopt_envs.training.optimizers import ADAMW_WEIGHT_DECAY
from hpopt_envs.training.plan import WHOLE_BATCH
from hpopt_envs.worlds import world_of
from hpopt_search_spaces import Value

from ..errors import StudyError
from .schedule import Schedule

# Transformers has no Adam of its own; without weight decay AdamW is the same.
_OPTIMIZERS: dict[str, dict[str, Value]] = {
    "sgd": {"optim": "sgd"},
    "momentum": {"optim": "sgd", "optim_args": "momentum=0.9"},
    "nesterov": {"optim": "sgd", "optim_args": "momentum=0.9,nesterov=true"},
    "adagrad": {"optim": "adagrad"},
    "rmsprop": {"optim": "rmsprop"},
    "adam": {"optim": "adamw_torch_fused"},
    "adamw": {"optim": "adamw_torch_fused"},
}
_F_DIVERGENCES = {  # as trl has them
    "reverse_kl": "reverse_kl",
    "forward_kl": "forward_kl",
    "jensen_shannon": "js_divergence",
    "alpha": "alpha_divergence",
}


def arguments(schedule: Schedule) -> dict[str, Any]:
    """Return arguments of transformers' `TrainingArguments`, or of what inherits from it.

    They hold for all of the run; a learning rate or a batch size that changes isn't among them.
    """
    held = schedule.held
    optimizer = str(held.get("optimizer", "adamw"))
    made: dict[str, Any] = {
        "learning_rate": schedule.stretches[0]["learning_rate"],
        **_OPTIMIZERS[optimizer],
        "weight_decay": _weight_decay(schedule),
        "max_grad_norm": held.get("max_gradient_norm", 1.0),
    }
    if held.get("label_smoothing", 0.0):
        made["label_smoothing_factor"] = held["label_smoothing"]
    if is_preference(schedule):
        made |= _preference(schedule)
    if needs_trainer(schedule):
        return made
    made["per_device_train_batch_size"] = schedule.batch_sizes[0]
    return made | (_shape(schedule) if schedule.steady else {"lr_scheduler_type": "constant"})


def needs_trainer(schedule: Schedule) -> bool:
    """Whether the schedule asks for more than a learning rate that changes."""
    return schedule.penalized or len(set(schedule.batch_sizes)) > 1


def check_expressible(schedule: Schedule, to: str) -> None:
    """Check that code for a trainer can say everything that a schedule has.

    Raises:
        StudyError: it can't; the text has the reason.
    """
    reason = _of_task(schedule, to) or _of_hyperparameters(schedule)
    if reason:
        raise StudyError(
            f"export: --to {to} can't express this study's winner: {reason}; --to json can"
        )


def is_language_model(schedule: Schedule) -> bool:
    """Whether the task is language modeling."""
    return schedule.kind is LanguageModeling


def is_classifier(schedule: Schedule) -> bool:
    """Whether the task is classification."""
    return schedule.kind is Classification


def is_preference(schedule: Schedule) -> bool:
    """Whether the task is direct preference optimization."""
    return schedule.kind is PreferenceOptimization


def _preference(schedule: Schedule) -> dict[str, Any]:
    """What `DPOConfig` adds: β, and what holds the model to its reference."""
    held = schedule.held
    divergence = str(held.get("divergence", "reverse_kl"))
    made: dict[str, Any] = {
        "beta": schedule.stretches[0]["divergence_weight"],
        "f_divergence_type": _F_DIVERGENCES[divergence],
    }
    if divergence == "alpha":  # in trl 1.16, f′(t) = (t^(α − 1) − 1)/(α − 1) as here
        made["f_alpha_divergence_coef"] = held.get("divergence_alpha", DIVERGENCE_ALPHA)
    return made


def _of_task(schedule: Schedule, to: str) -> str:
    task = schedule.history.facts.task
    if not world_of(task).trains:
        return f"task {task!r} trains no model"
    kind = schedule.kind
    if kind is None:
        return f"the loss is task {task!r}'s own"
    if is_language_model(schedule):
        return ""
    if is_preference(schedule):
        return _of_preference(schedule, to)
    if issubclass(kind, Alignment):
        return "no trainer minimises a divergence from a target distribution"
    if issubclass(kind, TextToText):
        return "there is no code for sequences into sequences yet"
    if to == "trl":
        return "SFTTrainer trains language models, not classifiers (--to transformers does)"
    if schedule.penalized:
        return (
            "a classifier's divergence is from a head that was fitted to the base model, "
            "which a trainer doesn't have"
        )
    data = schedule.history.header["environment"]["data"]
    weighted = data.get("class_weights") == "balanced"
    return "Trainer's loss has no class weights" if weighted else ""


def _of_preference(schedule: Schedule, to: str) -> str:
    if to != "trl":
        return "Trainer has no loss over pairs of responses (--to trl does)"
    if schedule.held.get("label_smoothing", 0.0):
        return "DPOTrainer's loss has no label smoothing"
    if schedule.held.get("dropout", 0.0):
        return "DPOTrainer turns dropout off"
    weights = {
        s[name]
        for s in schedule.stretches
        for name in ("divergence_weight", "final_divergence_weight")
        if name in s
    }
    if len(weights) > 1:
        return "DPOTrainer's β (divergence_weight) is the same in the whole run"
    if len(set(schedule.batch_sizes)) > 1:
        return "DPOTrainer's batch is the same in the whole run"
    return ""


def _of_hyperparameters(schedule: Schedule) -> str:
    if schedule.varied:
        return f"a trainer holds what changes in it: {', '.join(schedule.varied)}"
    if WHOLE_BATCH in schedule.batch_sizes:
        return "a batch of the whole training set (batch_size=all) has no size to give"
    optimizer = str(schedule.held.get("optimizer", "adamw"))
    if is_reference(optimizer):
        return f"no argument names an optimizer of your own ({optimizer})"
    if optimizer == "adam" and _weight_decay(schedule) > 0:
        return "transformers has no Adam with weight decay, only AdamW"
    return ""


def _weight_decay(schedule: Schedule) -> float:
    default = ADAMW_WEIGHT_DECAY if schedule.held.get("optimizer", "adamw") == "adamw" else 0.0
    return float(schedule.held.get("weight_decay", default))


def _shape(schedule: Schedule) -> dict[str, Any]:
    """The learning rate's shape over the run."""
    (only,) = schedule.stretches
    shape, peak = str(only.get("schedule_shape", "constant")), float(only["learning_rate"])
    warmup, final = float(only.get("warmup_fraction", 0.0)), float(only.get("final_fraction", 0.0))
    warm = {"warmup_steps": warmup} if warmup else {}
    if shape == "constant" or final == 1.0:
        return {"lr_scheduler_type": "constant_with_warmup" if warm else "constant", **warm}
    if final == 0.0:
        return {"lr_scheduler_type": shape, **warm}
    name, kwargs = {
        "linear": ("polynomial", {"lr_end": peak * final, "power": 1.0}),
        "cosine": ("cosine_with_min_lr", {"min_lr_rate": final}),
    }[shape]
    return {"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs, **warm}
