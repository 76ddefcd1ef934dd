"""The rules behind `default = "auto"`: where a search starts."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from .checks import nearest_names
from .errors import SpaceError
from .integers import nearest_power_of_two

OPTIMIZER_FACTORS = {
    "adamw": 1.0,
    "adam": 1.0,
    "rmsprop": 1.0,
    "adagrad": 6.0,
    "momentum": 50.0,
    "nesterov": 50.0,
    "sgd": 500.0,
}
"""Best learning rate relative to AdamW's, to the nearest round number; rmsprop's is a guess."""

OPTIMIZER_RATES = {"prodigy": 1.0, "schedule-free": 0.0025}
"""Learning rates that their authors document for models of any size, in place of the rule."""

LORA_FACTOR = 5.0
"""Best learning rate of LoRA relative to full fine-tuning's."""

SURPRISED = 1.5
"""Retained surprise above which a base model is no good reference for what is to be retained."""


@dataclass(frozen=True)
class TrainingFacts:
    """What the rules need to know of a training run.

    Attributes:
        total_parameters: of the model.
        trainable_parameters: how many of them are trained (with LoRA: of the adapter).
        training_tokens: task tokens of one trial.
        sequence_length: tokens a sequence.
        lora: whether an adapter is trained instead of the weights.
        optimizer: where the space doesn't say, a key of `OPTIMIZER_FACTORS` or `OPTIMIZER_RATES`,
            or "module:Class", whose factor is 1, since nothing is known of it.
        task_factor: best learning rate relative to that of plain fine-tuning.
        forgetting_weight: what a nat of forgetting costs, relative to the objective's scale; 0
            where forgetting doesn't count.
        retained_surprise: the base model's loss on what is to be retained, relative to the entropy
            of its own distributions there (of 1 nat, where that is less): 1 where it knows it,
            infinity where nothing is retained.
    """

    total_parameters: int
    trainable_parameters: int
    training_tokens: int
    sequence_length: int
    lora: bool
    optimizer: str = "adamw"
    task_factor: float = 1.0
    forgetting_weight: float = 0.0
    retained_surprise: float = 1.0


def auto_learning_rate(facts: TrainingFacts) -> float:
    """Return the learning rate to start from, to two significant digits.

    0.42 · N^−0.45, times 5 for LoRA, times the optimizer's and the task's factor; N: parameters of
    the model (of its trained part, where that is a part and not an adapter). Where the optimizer's
    authors document one rate for every model, it is that: 1 for Prodigy, which finds the scale
    itself, and 0.0025 for Schedule-Free AdamW.

    It is ours, for fine-tuning. Its scale is what was best for the embedded model (0.56 M
    parameters, 0.0011 as the geometric mean of three tasks; 32,768 tokens, batch 4 to 8, linear
    decay). Its slope is a compromise: MiniLM (22 M, best at 3.2e-4, given 2.1e-4) asks for −0.33,
    and large models for more; it gives 3.7e-5 for 1 B and 1.6e-5 for 7 B, which was not checked.
    The factors are between what the embedded tasks ask for; for LoRA on large models 10 is usual
    (Thinking Machines, "LoRA Without Regret", 2025). `docs/results.md` has its error on each task.

    Where it is known to be wrong: from random weights the best rate is three to five times as
    high, where Step Law holds (1.79 · N^−0.713 · D^0.307, Li et al. 2025, arXiv 2503.04715), which
    is four times too high for fine-tuning the embedded model; and SmolLM2 (135 M, LoRA) in a run
    of 60 steps is best at 0.01, where it gives 4.6e-4.
    """
    if facts.optimizer in OPTIMIZER_RATES:
        return OPTIMIZER_RATES[facts.optimizer]
    whole = facts.lora or facts.trainable_parameters == facts.total_parameters
    parameters = facts.total_parameters if whole else facts.trainable_parameters
    factor = 1.0 if ":" in facts.optimizer else OPTIMIZER_FACTORS.get(facts.optimizer)
    if factor is None:
        near = nearest_names(facts.optimizer, [*OPTIMIZER_FACTORS, *OPTIMIZER_RATES])
        raise SpaceError(f'learning_rate: "auto" has no rule for {facts.optimizer!r} ({near})')
    adamw = 0.42 * parameters**-0.45
    rate = adamw * factor * facts.task_factor * (LORA_FACTOR if facts.lora else 1.0)
    return float(f"{rate:.2g}")


def auto_batch_size(facts: TrainingFacts) -> int:
    """Return sequences an optimizer step to start from: a power of two, at least 1.

    0.58 · D^0.571 tokens (Step Law, arXiv 2503.04715), where D is the tokens of a trial.
    65,536 tokens in sequences of 64 give 4.
    """
    tokens = 0.58 * facts.training_tokens**0.571
    return nearest_power_of_two(max(1.0, tokens / facts.sequence_length))


def auto_divergence_weight(facts: TrainingFacts) -> float:
    """Return the weight of the penalty to start from, and to end with.

    0.3 + 1.5 · w, where w is the forgetting weight. It is ours: what was best on nano worlds,
    language models of 2,000 to 10,000 parameters with w of 0 to 1. On built-in tasks of language
    modeling it is worth about what eight trials from 0.1 were.

    0.1 where the base model's loss on what is to be retained is more than half again its entropy
    there: training then lowers that loss, and holding on to the base model only costs. Of six pairs
    of base and text, 0.1 was better on those with surprises of 1.56, 1.73 and 1.98, the rule on
    those with 1.18, 1.28 and, on the wrong side of the line, 1.51.

    0.1, too, where nothing is retained, so that the penalty is on the task's own data: it is in
    the way of learning there (`text2text` on data of one's own loses 6 points of chrF at 0.3).

    It is for a penalty on distributions that `forgetting` counts beside: of the simulated task's,
    a quadratic, 0.1 is best, and that is what it gets. Nor is it for a weight that is the loss's
    own, as in `align` and `dpo`. `docs/results.md` has what it is worth on each task.
    """
    if facts.retained_surprise > SURPRISED:
        return 0.1
    return 0.3 + 1.5 * facts.forgetting_weight


RULES: dict[str, Callable[[TrainingFacts], float]] = {
    "learning_rate": auto_learning_rate,
    "batch_size": auto_batch_size,
    "divergence_weight": auto_divergence_weight,
    "final_divergence_weight": auto_divergence_weight,
}


def auto_default(name: str, facts: TrainingFacts) -> float:
    """Return the default of the parameter of that name, before its range clips it.

    Raises:
        SpaceError: the facts are impossible, or the optimizer is unknown.
    """
    for key in ("total_parameters", "trainable_parameters", "training_tokens", "sequence_length"):
        value = getattr(facts, key)
        if not 0 < value < math.inf:
            raise SpaceError(f'{name}: "auto" needs {key} above 0, but got {key}={value}')
    weight = facts.forgetting_weight
    if not 0 <= weight < math.inf:
        raise SpaceError(
            f'{name}: "auto" needs forgetting_weight of at least 0, but got '
            f"forgetting_weight={weight}"
        )
    return RULES[name](facts)
