"""The rule behind `default = "auto"`: where a search of learning rate and batch size starts."""

import math
from dataclasses import dataclass

from .checks import nearest_names
from .errors import SpaceError
from .integers import nearest_power_of_two

OPTIMIZER_FACTORS = {"adamw": 1.0, "adagrad": 3.0, "sgd": 100.0, "plain_sgd": 1000.0}
"""Best learning rate relative to AdamW's, to an order of magnitude; `sgd` has momentum 0.9."""

LORA_FACTOR = 10.0
"""Best learning rate of LoRA relative to full fine-tuning's."""


@dataclass(frozen=True)
class TrainingFacts:
    """What the rule needs to know of a training run.

    Attributes:
        total_parameters: of the model.
        trainable_parameters: how many of them are trained (with LoRA: of the adapter).
        training_tokens: task tokens of one trial.
        sequence_length: tokens a sequence.
        lora: whether an adapter is trained instead of the weights.
        optimizer: where the space doesn't say, a key of `OPTIMIZER_FACTORS`.
    """

    total_parameters: int
    trainable_parameters: int
    training_tokens: int
    sequence_length: int
    lora: bool
    optimizer: str = "adamw"


def auto_learning_rate(facts: TrainingFacts) -> float:
    """The learning rate to start from, to two significant digits.

    1.79 · N^−0.713 · D^0.307, times 10 for LoRA, times the optimizer's factor; N: parameters of
    the model (of its trained part, where that is a part and not an adapter), D: tokens of a trial.

    Sources: the power law is Step Law's (Li et al. 2025, arXiv 2503.04715), fitted to pretraining
    with AdamW. Ten for LoRA is a rule of thumb (Thinking Machines, "LoRA Without Regret", 2025).
    The optimizers' factors are ours: the embedded model (0.56 M parameters, 40,960 tokens in
    batches of 4, full fine-tuning, linear decay, grids of octaves) was best at 0.001 to 0.002 with
    AdamW, 0.008 with Adagrad, 0.1 with SGD and momentum, 1 without.

    What it gives, beside the best of a grid: that model 0.0037 (an octave or two high, 0.1 nats
    worse on validation); MiniLM, 22 M, 60,000 tokens, 3.1e-4 (3.2e-4); SmolLM2, 135 M, LoRA,
    11,500 tokens, 5.0e-4 (0.01: in so short a run four octaves low, within the default space).
    """
    whole = facts.lora or facts.trainable_parameters == facts.total_parameters
    parameters = facts.total_parameters if whole else facts.trainable_parameters
    if facts.optimizer not in OPTIMIZER_FACTORS:
        near = nearest_names(facts.optimizer, OPTIMIZER_FACTORS)
        raise SpaceError(f'learning_rate: "auto" has no rule for {facts.optimizer!r} ({near})')
    adamw = 1.79 * parameters**-0.713 * facts.training_tokens**0.307
    rate = adamw * OPTIMIZER_FACTORS[facts.optimizer] * (LORA_FACTOR if facts.lora else 1.0)
    return float(f"{rate:.2g}")


def auto_batch_size(facts: TrainingFacts) -> int:
    """Sequences an optimizer step to start from: a power of two, at least 1.

    0.58 · D^0.571 tokens (Step Law, arXiv 2503.04715), where D is the tokens of a trial.
    65,536 tokens in sequences of 64 give 4.
    """
    tokens = 0.58 * facts.training_tokens**0.571
    return nearest_power_of_two(max(1.0, tokens / facts.sequence_length))


def auto_default(name: str, facts: TrainingFacts) -> float:
    """The default of the parameter of that name, before its range clips it.

    Raises:
        SpaceError: the facts are impossible, or the optimizer is unknown.
    """
    for key in ("total_parameters", "trainable_parameters", "training_tokens", "sequence_length"):
        value = getattr(facts, key)
        if not 0 < value < math.inf:
            raise SpaceError(f'{name}: "auto" needs {key} above 0, but got {key}={value}')
    return auto_learning_rate(facts) if name == "learning_rate" else auto_batch_size(facts)
