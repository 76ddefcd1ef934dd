"""What a user has now: a configuration to be better than, in the space or not."""

from collections.abc import Mapping, Sequence

from hpopt_search_spaces import SearchSpace, SpaceError, Value

from ..errors import WorldError
from ..tasks.roles import ParametricLoss
from .hyperparameters import check_values
from .weights import Structure


def outside(space: SearchSpace, baseline: Mapping[str, Value]) -> dict[str, Value]:
    """Return what of a baseline the space doesn't have.

    Raises:
        WorldError: a value is of the wrong type.
    """
    try:
        near = space.nearest(baseline)
    except SpaceError as error:
        raise WorldError(f"baseline: {error}") from None
    return {n: v for n, v in baseline.items() if near.get(n) != v}


def check_baseline(
    beside: Mapping[str, Value],
    held: Mapping[str, Value],
    loss: ParametricLoss | None,
    batch_sizes: Sequence[int],
) -> None:
    """Make sure that a baseline can be trained where the space's configurations are.

    Args:
        beside: what of it the space doesn't have.
        held: what all trials have beside the space.
        loss: of the task, where it has hyperparameters of its own.
        batch_sizes: of the space, by which segments are cut.

    Raises:
        WorldError: a hyperparameter is unknown, or has an impossible value; it has another
            structure than the trials; or its batch doesn't fit their segments.
    """
    check_values(beside, "baseline", loss)
    if Structure.of({**held, **beside}) != Structure.of(held):
        raise WorldError(
            "baseline: must train what the trials train, but LoRA adapters or frozen layers of its "
            "own would make it another model; --fix sets them for all"
        )
    size, largest = beside.get("batch_size"), max(batch_sizes)
    if size is not None and not (isinstance(size, int) and _fits(size, largest)):
        raise WorldError(
            f"baseline: batch_size must divide the space's largest, {largest}, or be a multiple of "
            f"it, so that segments can be cut alike, but got {size}"
        )


def _fits(size: int, largest: int) -> bool:
    return largest % size == 0 or size % largest == 0


def note(beside: Mapping[str, Value], space: SearchSpace) -> tuple[str, ...]:
    """Return a sentence on what searchers try, where the baseline lies outside the space."""
    if not beside:
        return ()
    values = ", ".join(f"{name}={value}" for name, value in beside.items())
    near = ", ".join(f"{name}={value}" for name, value in space.nearest(beside).items())
    tried = f"; searchers try {near} in its place" if near else ""
    return (f"The baseline lies outside the space, with {values}{tried}.",)
