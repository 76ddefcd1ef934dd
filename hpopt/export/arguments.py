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
from .exported import Exported

# Transformers has no Adam of its own; without weight decay AdamW is the same.
_OPTIMIZERS: dict[str, dict[str, Value]] = {
    "sgd": {"optim": "sgd"},
    "momentum": {"optim": "sgd", "optim_args": "momentum=0.9"},
    "nesterov": {"optim": "sgd", "optim_args": "momentum=0.9,nesterov=true"},
    "adagrad": {"optim": "adagrad"},
    "rmsprop": {"optim": "rmsprop"},
    "adam": {"optim": "adamw_torch_fused"},
    "adamw": {"optim": "adamw_torch_fused"},
    "schedule-free": {"optim": "schedule_free_adamw"},
}
_F_DIVERGENCES = {  # as trl has them
    "reverse_kl": "reverse_kl",
    "forward_kl": "forward_kl",
    "jensen_shannon": "js_divergence",
    "alpha": "alpha_divergence",
}


def arguments(exported: Exported) -> dict[str, Any]:
    """Return arguments of transformers' `TrainingArguments`, or of what inherits from it.

    They hold for all of the run; a learning rate or a batch size that changes isn't among them.
    """
    held = exported.held
    optimizer = str(held.get("optimizer", "adamw"))
    made: dict[str, Any] = {
        "learning_rate": exported.stretches[0]["learning_rate"],
        **_OPTIMIZERS[optimizer],
        "weight_decay": _weight_decay(exported),
        "max_grad_norm": held.get("max_gradient_norm", 1.0),
    }
    if held.get("label_smoothing", 0.0):
        made["label_smoothing_factor"] = held["label_smoothing"]
    if is_preference(exported):
        made |= _preference(exported)
    if needs_trainer(exported):
        return made
    made["per_device_train_batch_size"] = exported.batch_sizes[0]
    return made | (_shape(exported) if exported.steady else {"lr_scheduler_type": "constant"})


def needs_trainer(exported: Exported) -> bool:
    """Return whether the schedule asks for more than a learning rate that changes."""
    return exported.penalized or len(set(exported.batch_sizes)) > 1


def check_expressible(exported: Exported, to: str) -> None:
    """Check that code for a trainer can say everything that a schedule has.

    Raises:
        StudyError: it can't; the text has the reason.
    """
    reason = _of_task(exported, to) or _of_hyperparameters(exported)
    if reason:
        raise StudyError(
            f"export: --to {to} can't express what this study recommends: {reason}; --to json can"
        )


def is_language_model(exported: Exported) -> bool:
    """Return whether the task is language modeling."""
    return exported.kind is LanguageModeling


def is_classifier(exported: Exported) -> bool:
    """Return whether the task is classification."""
    return exported.kind is Classification


def is_preference(exported: Exported) -> bool:
    """Return whether the task is direct preference optimization."""
    return exported.kind is PreferenceOptimization


def _preference(exported: Exported) -> dict[str, Any]:
    """Return what `DPOConfig` adds: β, and what holds the model to its reference."""
    held = exported.held
    divergence = str(held.get("divergence", "reverse_kl"))
    made: dict[str, Any] = {
        "beta": exported.stretches[0]["divergence_weight"],
        "f_divergence_type": _F_DIVERGENCES[divergence],
    }
    if divergence == "alpha":  # in trl 1.16, f′(t) = (t^(α − 1) − 1)/(α − 1) as here
        made["f_alpha_divergence_coef"] = held.get("divergence_alpha", DIVERGENCE_ALPHA)
    return made


def _of_task(exported: Exported, to: str) -> str:
    task = exported.task
    if not world_of(task).trains:
        return f"task {task!r} trains no model"
    kind = exported.kind
    if kind is None:
        return f"the loss is task {task!r}'s own"
    if is_language_model(exported):
        return ""
    if is_preference(exported):
        return _of_preference(exported, to)
    if issubclass(kind, Alignment):
        return "no trainer minimises a divergence from a target distribution"
    if issubclass(kind, TextToText):
        return "there is no code for sequences into sequences yet"
    if to == "trl":
        return "SFTTrainer trains language models, not classifiers (--to transformers does)"
    if exported.penalized:
        return (
            "a classifier's divergence is from a head that was fitted to the base model, "
            "which a trainer doesn't have"
        )
    data = exported.recommended.history.header["environment"]["data"]
    weighted = data.get("class_weights") == "balanced"
    return "Trainer's loss has no class weights" if weighted else ""


def _of_preference(exported: Exported, to: str) -> str:
    if to != "trl":
        return "Trainer has no loss over pairs of responses (--to trl does)"
    if exported.held.get("label_smoothing", 0.0):
        return "DPOTrainer's loss has no label smoothing"
    if exported.held.get("dropout", 0.0):
        return "DPOTrainer turns dropout off"
    weights = {
        s[name]
        for s in exported.stretches
        for name in ("divergence_weight", "final_divergence_weight")
        if name in s
    }
    if len(weights) > 1:
        return "DPOTrainer's β (divergence_weight) is the same in the whole run"
    if len(set(exported.batch_sizes)) > 1:
        return "DPOTrainer's batch is the same in the whole run"
    return ""


def _of_hyperparameters(exported: Exported) -> str:
    if exported.varied:
        return f"a trainer holds what changes in it: {', '.join(exported.varied)}"
    if WHOLE_BATCH in exported.batch_sizes:
        return "a batch of the whole training set (batch_size=all) has no size to give"
    optimizer = str(exported.held.get("optimizer", "adamw"))
    if is_reference(optimizer):
        return f"no argument names an optimizer of your own ({optimizer})"
    if optimizer not in _OPTIMIZERS:
        return f"transformers has no optimizer {optimizer}"
    if optimizer == "adam" and _weight_decay(exported) > 0:
        return "transformers has no Adam with weight decay, only AdamW"
    return ""


def _weight_decay(exported: Exported) -> float:
    default = ADAMW_WEIGHT_DECAY if exported.held.get("optimizer", "adamw") == "adamw" else 0.0
    return float(exported.held.get("weight_decay", default))


def _shape(exported: Exported) -> dict[str, Any]:
    """Return the learning rate's shape over the run."""
    (only,) = exported.stretches
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
