"""Hyperparameters by the names that trainers have for them."""

from collections.abc import Mapping

from hpopt_envs.training.optimizers import ADAMW_WEIGHT_DECAY
from hpopt_search_spaces import Value

# Transformers has no Adam of its own; without weight decay AdamW is the same.
OPTIMIZERS: dict[str, dict[str, Value]] = {
    "sgd": {"optim": "sgd"},
    "momentum": {"optim": "sgd", "optim_args": "momentum=0.9"},
    "nesterov": {"optim": "sgd", "optim_args": "momentum=0.9,nesterov=true"},
    "adagrad": {"optim": "adagrad"},
    "rmsprop": {"optim": "rmsprop"},
    "adam": {"optim": "adamw_torch_fused"},
    "adamw": {"optim": "adamw_torch_fused"},
    "schedule-free": {"optim": "schedule_free_adamw"},
}
F_DIVERGENCES = {  # as trl has them
    "reverse_kl": "reverse_kl",
    "forward_kl": "forward_kl",
    "jensen_shannon": "js_divergence",
    "alpha": "alpha_divergence",
}


def weight_decay(held: Mapping[str, Value]) -> float:
    """Return the weight decay of a trial with such hyperparameters."""
    default = ADAMW_WEIGHT_DECAY if held.get("optimizer", "adamw") == "adamw" else 0.0
    return float(held.get("weight_decay", default))
