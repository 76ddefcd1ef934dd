"""What no code for a trainer can say: of a task, and of hyperparameters."""

from collections.abc import Mapping
from typing import Any

from hpopt_envs.references import is_reference
from hpopt_envs.tasks.align import Alignment
from hpopt_envs.tasks.dpo import PreferenceOptimization
from hpopt_envs.tasks.suite import BUILT_IN
from hpopt_envs.training.plan import WHOLE_BATCH
from hpopt_envs.worlds import world_of
from hpopt_search_spaces import Value

from ..errors import StudyError
from .exported import Exported
from .hyperparameters import OPTIMIZERS, weight_decay

TRAINERS = ("transformers", "trl")


def check_expressible(exported: Exported, to: str) -> None:
    """Check that code for a trainer can say everything that a schedule has.

    Raises:
        StudyError: it can't; the text has the reason.
    """
    reason = (
        _of_task(exported.task, exported.environment["data"], to)
        or _of_form(exported, to)
        or _of_pairs(exported)
        or _of_values(exported)
    )
    if reason:
        raise StudyError(
            f"export: --to {to} can't express what this study recommends: {reason}; --to json can"
        )


def unexportable(header: Mapping[str, Any]) -> str:
    """Return, before a search, why no code can be exported of what it will find; "" where it can.

    Args:
        header: the first event of the study's journal.
    """
    facts, data = header["facts"], header["environment"]["data"]
    if not world_of(facts["task"]).trains:
        return ""
    reasons = [_of_task(facts["task"], data, to) or _of_held(facts["fixed"]) for to in TRAINERS]
    if not all(reasons):
        return ""
    return f"What this study finds can be exported as json alone: {reasons[0]}."


def _of_task(task: str, data: Mapping[str, Any], to: str) -> str:
    if not world_of(task).trains:
        return f"task {task!r} trains no model"
    if task not in BUILT_IN:
        return f"the loss of task {task!r} is its own"
    kind = BUILT_IN[task].kind
    if issubclass(kind, Alignment):
        return "no trainer minimises a divergence from a target distribution"
    if data.get("class_weights") == "balanced":
        return "Trainer's loss has no class weights"
    if issubclass(kind, PreferenceOptimization) and to != "trl":
        return "Trainer has no loss over pairs of responses (--to trl does)"
    return ""


def _of_form(exported: Exported, to: str) -> str:
    if exported.form == "labels" and to == "trl":
        return "SFTTrainer trains language models, not classifiers (--to transformers does)"
    if exported.form == "sources" and to == "trl":
        return "SFTTrainer trains no encoder-decoders (--to transformers does)"
    if exported.form == "chat completions" and to != "trl":
        return "Trainer has no chat templates (--to trl does)"
    return ""


def _of_pairs(exported: Exported) -> str:
    if exported.form != "pairs":
        return ""
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


def _of_values(exported: Exported) -> str:
    if exported.varied:
        return f"a trainer holds what changes in it: {', '.join(exported.varied)}"
    sizes: dict[str, Value] = {}
    if WHOLE_BATCH in exported.batch_sizes:
        sizes["batch_size"] = WHOLE_BATCH
    return _of_held({**exported.held, **sizes})


def _of_held(held: Mapping[str, Value]) -> str:
    if held.get("batch_size") == WHOLE_BATCH:
        return "a batch of the whole training set (batch_size=all) has no size to give"
    optimizer = str(held.get("optimizer", "adamw"))
    if is_reference(optimizer):
        return f"no argument names an optimizer of your own ({optimizer})"
    if optimizer not in OPTIMIZERS:
        return f"transformers has no optimizer {optimizer}"
    if optimizer == "adam" and weight_decay(held) > 0:
        return "transformers has no Adam with weight decay, only AdamW"
    return ""
