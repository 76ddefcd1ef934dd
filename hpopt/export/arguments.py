"""What a trainer's own arguments can say of a schedule, and of how data are read."""

from typing import Any

from hpopt_envs.tasks.dpo import DIVERGENCE_ALPHA

from .exported import Exported
from .hyperparameters import F_DIVERGENCES, OPTIMIZERS, weight_decay


def arguments(exported: Exported, to: str) -> dict[str, Any]:
    """Return arguments of transformers' `TrainingArguments`, or of what inherits from it.

    They hold for all of the run; a learning rate or a batch size that changes isn't among them, nor
    is the precision.

    Args:
        exported: what is recommended.
        to: "transformers" or "trl".
    """
    held = exported.held
    made: dict[str, Any] = {
        "learning_rate": exported.stretches[0]["learning_rate"],
        **OPTIMIZERS[str(held.get("optimizer", "adamw"))],
        "weight_decay": weight_decay(held),
        "max_grad_norm": held.get("max_gradient_norm", 1.0),
    }
    if held.get("label_smoothing", 0.0):
        made["label_smoothing_factor"] = held["label_smoothing"]
    if exported.form == "pairs":
        made |= _preference(exported)
    if to == "trl":
        made |= _data(exported)
    if needs_trainer(exported):
        return made
    made["per_device_train_batch_size"] = exported.batch_sizes[0]
    return made | (_shape(exported) if exported.steady else {"lr_scheduler_type": "constant"})


def needs_trainer(exported: Exported) -> bool:
    """Return whether the schedule asks for more than a learning rate that changes."""
    return exported.penalized or len(set(exported.batch_sizes)) > 1


def _preference(exported: Exported) -> dict[str, Any]:
    """Return what `DPOConfig` adds: β, and what holds the model to its reference."""
    held = exported.held
    divergence = str(held.get("divergence", "reverse_kl"))
    made: dict[str, Any] = {
        "beta": exported.stretches[0]["divergence_weight"],
        "f_divergence_type": F_DIVERGENCES[divergence],
    }
    if divergence == "alpha":  # in trl 1.16, f′(t) = (t^(α − 1) − 1)/(α − 1) as here
        made["f_alpha_divergence_coef"] = held.get("divergence_alpha", DIVERGENCE_ALPHA)
    return made


def _data(exported: Exported) -> dict[str, Any]:
    """Return how trl makes the same examples of rows; it cuts at 1,024 tokens unless told."""
    made: dict[str, Any] = {"max_length": exported.longest}
    if exported.form == "blocks":
        made |= {"packing": True, "packing_strategy": "wrapped"}
    if exported.form == "chats":
        made["assistant_only_loss"] = True
    if exported.form in ("blocks", "texts") and exported.columns["text"] != "text":
        made["dataset_text_field"] = exported.columns["text"]
    return made


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
