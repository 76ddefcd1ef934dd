"""What training understands, and what must hold of it before a study spends anything on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hpopt_search_spaces import ChoiceParameter, Parameter, SearchSpace, Value, nearest_names
from hpopt_search_spaces.checks import is_integer, is_number, shown

from ..divergences.f_divergence import DIVERGENCES
from ..errors import WorldError
from ..schedules import AGENT_SHAPE, HELD_SHAPE, SHAPES
from ..tasks.roles import ParametricLoss, Rule
from .gradients import DIVERGENCE, DIVERGENCE_ALPHA
from .optimizers import (
    ADAMW_WEIGHT_DECAY,
    MAX_GRADIENT_NORM,
    OPTIMIZERS,
    advised,
    check_shapes,
    is_optimizer,
)
from .plan import WHOLE_BATCH


def _number(what: str, legal: Callable[[float], bool]) -> Rule:
    return f"a number {what}".rstrip(), lambda value: is_number(value) and legal(value)


def _whole(low: int) -> Rule:
    return (
        f"a whole number of at least {low}",
        lambda value: is_integer(value) and value >= low,
    )


def _one_of(names: tuple[str, ...]) -> Rule:
    return f"among {', '.join(names)}", lambda value: value in names


@dataclass(frozen=True)
class Hyperparameter:
    """What training understands.

    Attributes:
        rule: what all its values must be.
        meaning: what it is, for people.
        default: what holds where neither a space nor `--fix` has it, for people; "" where it must
            be said.
    """

    rule: Rule
    meaning: str
    default: str = ""


HYPERPARAMETERS: dict[str, Hyperparameter] = {
    "learning_rate": Hyperparameter(
        _number("above 0", lambda value: value > 0), "of the optimizer, at its highest"
    ),
    "batch_size": Hyperparameter(
        _whole(1), f"examples an optimizer step; `{WHOLE_BATCH}` of them where it is fixed so"
    ),
    "divergence_weight": Hyperparameter(
        _number("of at least 0", lambda value: value >= 0),
        "β of the penalty β · divergence from the base model on retained text; of `dpo` and "
        "`align` with a reward, where it must be above 0, β of their own loss",
        "0",
    ),
    "divergence": Hyperparameter(
        _one_of(DIVERGENCES),
        "which f-divergence it is",
        f"`{DIVERGENCE}`; `reverse_kl` for `align` and `dpo`",
    ),
    "divergence_alpha": Hyperparameter(
        _number("", lambda value: True),
        "the coefficient of divergence `alpha`",
        f"{DIVERGENCE_ALPHA:g}",
    ),
    "optimizer": Hyperparameter(
        (f"among {', '.join(OPTIMIZERS)}, or module:Class", is_optimizer),
        "what makes steps of gradients",
        "`adamw`",
    ),
    "weight_decay": Hyperparameter(
        _number("of at least 0", lambda value: value >= 0),
        "of the optimizer",
        f"{ADAMW_WEIGHT_DECAY:g} for `adamw`, else 0",
    ),
    "max_gradient_norm": Hyperparameter(
        _number("above 0", lambda value: value > 0),
        "norm that gradients are clipped to",
        f"{MAX_GRADIENT_NORM:g}",
    ),
    "schedule_shape": Hyperparameter(
        _one_of(SHAPES),
        "how the learning rate falls over the run after the warm-up",
        f"`{HELD_SHAPE['schedule_shape']}`; with agents `{AGENT_SHAPE['schedule_shape']}`; "
        f"{advised('schedule_shape')}",
    ),
    "warmup_fraction": Hyperparameter(
        _number("from 0 to below 1", lambda value: 0 <= value < 1),
        "share of the run in which the learning rate rises",
        f"{HELD_SHAPE['warmup_fraction']:g}; with agents {AGENT_SHAPE['warmup_fraction']:g}; "
        f"{advised('warmup_fraction')}",
    ),
    "final_fraction": Hyperparameter(
        _number("from 0 to 1", lambda value: 0 <= value <= 1),
        "share of the learning rate that is left at the end",
        "0",
    ),
    "final_divergence_weight": Hyperparameter(
        _number("of at least 0", lambda value: value >= 0),
        "β at the end, on a line from `divergence_weight`",
        "`divergence_weight`",
    ),
    "dropout": Hyperparameter(
        _number("from 0 to below 1", lambda value: 0 <= value < 1),
        "share of activations that are dropped",
        "the model's own",
    ),
    "label_smoothing": Hyperparameter(
        _number("from 0 to below 1", lambda value: 0 <= value < 1),
        "share of the target's probability that goes to all classes; the task's loss must have it",
        "0",
    ),
    "frozen_layers": Hyperparameter(
        _whole(0), "blocks that aren't trained, from the bottom, with the embeddings", "0"
    ),
    "lora_rank": Hyperparameter(
        _whole(1), "trains LoRA adapters of this rank instead of the weights", "the weights"
    ),
    "lora_alpha": Hyperparameter(
        _number("above 0", lambda value: value > 0), "scale of the adapters", "twice the rank"
    ),
    "lora_targets": Hyperparameter(
        ("a regular expression or all-linear", lambda value: isinstance(value, str)),
        "layers that get adapters",
        "`all-linear`",
    ),
}
NEEDED = ("learning_rate", "batch_size")
STATIC = ("optimizer", "frozen_layers", "lora_rank", "lora_alpha", "lora_targets")
DEPENDS_ON = {  # what does nothing alone
    "lora_alpha": "lora_rank",
    "lora_targets": "lora_rank",
    "divergence": "divergence_weight",
    "final_divergence_weight": "divergence_weight",
    "divergence_alpha": "divergence_weight",
}
OF_A_TASK = ("label_smoothing",)  # what a task's own loss must know


def check_hyperparameters(
    space: SearchSpace,
    fixed: Mapping[str, Value],
    loss: ParametricLoss | None = None,
    *,
    reference: bool = True,
) -> None:
    """Check that training can use every value of a space, and what is fixed beside it.

    Args:
        space: may be unresolved.
        fixed: hyperparameters that are held in every trial.
        loss: of the task, where it has hyperparameters of its own.
        reference: whether the task has one.

    Raises:
        WorldError: a needed hyperparameter is missing, one is unknown, or has impossible values.
    """
    own, rules = (loss.hyperparameters, loss.rules) if loss else ((), {})
    needed = loss.needed if loss else ()
    for parameter in space.parameters:
        _check(parameter.name, extremes(parameter), f"space {space.name!r}", own, rules)
        if parameter.dynamic and parameter.name in STATIC:
            raise WorldError(
                f"space {space.name!r}: {parameter.name} must not be dynamic: it is set at a "
                "trial's start"
            )
        if parameter.active_when and parameter.name == "lora_rank":
            raise WorldError(
                f"space {space.name!r}: lora_rank must not have active_when: adapters are in all "
                "trials of a study, or in none"
            )
    check_values(space.fixed, f"space {space.name!r}", loss)
    check_values(fixed, "fix", loss)
    names = [*space.names, *fixed]
    missing = [name for name in (*NEEDED, *needed) if name not in names]
    if missing:
        raise WorldError(f"space {space.name!r}: must have {' and '.join(missing)}")
    for name, parent in DEPENDS_ON.items():
        if name in names and parent not in names and name not in own:
            raise WorldError(f"space {space.name!r}: {name} must go with {parent}")
    check_shapes(space, names)
    if "divergence_weight" in names and not reference and "divergence_weight" not in own:
        raise WorldError(
            f"space {space.name!r}: divergence_weight needs a task with a reference, but this one "
            "compares no distributions"
        )


def check_values(
    values: Mapping[str, Value], where: str, loss: ParametricLoss | None = None
) -> None:
    """Check that training can use some values.

    Args:
        values: by hyperparameter.
        where: they stand, as errors begin with it.
        loss: of the task, where it has hyperparameters of its own.

    Raises:
        WorldError: one is unknown, or has an impossible value.
    """
    own, rules = (loss.hyperparameters, loss.rules) if loss else ((), {})
    for name, value in values.items():
        if (name, value) != ("batch_size", WHOLE_BATCH):
            _check(name, (value,), where, own, rules)


def understood(loss: ParametricLoss | None = None) -> tuple[str, ...]:
    """Return the names of the hyperparameters that training understands, a loss's own included."""
    return _known(loss.hyperparameters if loss else ())


def _known(own: tuple[str, ...]) -> tuple[str, ...]:
    common = [name for name in HYPERPARAMETERS if name not in OF_A_TASK]
    return tuple(dict.fromkeys([*common, *own]))


def _check(
    name: str,
    values: tuple[Value, ...],
    where: str,
    own: tuple[str, ...],
    rules: Mapping[str, Rule],
) -> None:
    known = _known(own)
    if name not in known:
        near = nearest_names(name, known)
        raise WorldError(f"{where}: training has no hyperparameter {name!r} ({near})")
    common = [HYPERPARAMETERS[name].rule] if name in HYPERPARAMETERS else []
    for what, is_legal in [*common, *([rules[name]] if name in rules else [])]:
        for value in values:
            if not is_legal(value):
                raise WorldError(f"{where}: every {name} must be {what}, but got {shown(value)}")


def extremes(parameter: Parameter) -> tuple[Value, ...]:
    """Return a choice's values, or a range's least and greatest; those in numbers so far."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.choices
    zero = (0.0,) if getattr(parameter, "zero", False) else ()
    # A range in octaves lies above 0, wherever its default comes to be.
    ends = () if parameter.octaves is not None else (parameter.low, parameter.high)
    return (*zero, *ends)
