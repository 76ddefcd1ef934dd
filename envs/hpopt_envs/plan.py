"""How training tokens are cut into segments and trials."""

import math
from dataclasses import dataclass

from hpopt_search_spaces import ChoiceParameter, IntegerParameter, SearchSpace

from .errors import WorldError

LEAST_SEGMENT_TOKENS = 4096
SEGMENTS = 16


@dataclass(frozen=True)
class Plan:
    """Task tokens a segment and a trial; a trial is a whole number of segments."""

    segment_tokens: int
    trial_tokens: int


def plan_trial(
    space: SearchSpace,
    example_tokens: int,
    epoch_tokens: int,
    segment_tokens: int | None = None,
    trial_tokens: int | None = None,
) -> Plan:
    """Fill in what isn't given, and refuse what doesn't fit.

    A segment is a multiple of batch size × example tokens for every batch size of the space: the
    least such number that is at least 4,096 where it isn't given. A trial is 16 segments or one
    epoch, whichever is less, and at least one segment.

    Raises:
        WorldError: one line, where the lengths contradict the space or each other.
    """
    step = math.lcm(*(size * example_tokens for size in batch_sizes(space)))
    if segment_tokens is None:
        whole = -(-LEAST_SEGMENT_TOKENS // step) * step
        if trial_tokens is not None and trial_tokens < whole and trial_tokens % step == 0:
            whole = step
        segment_tokens = whole
    if segment_tokens <= 0 or segment_tokens % step:
        raise WorldError(
            f"segment_tokens: must be a multiple of {step} (every batch size of the space × "
            f"{example_tokens} tokens an example), but got {segment_tokens}"
        )
    if trial_tokens is None:
        trial_tokens = segment_tokens * max(1, min(SEGMENTS, epoch_tokens // segment_tokens))
    if trial_tokens <= 0 or trial_tokens % segment_tokens:
        raise WorldError(
            f"trial_tokens: must be a multiple of segment_tokens={segment_tokens}, "
            f"but got {trial_tokens}"
        )
    return Plan(segment_tokens, trial_tokens)


def batch_sizes(space: SearchSpace) -> list[int]:
    """Return every batch size that the space allows.

    Raises:
        WorldError: the space has no batch size, or they can't be listed.
    """
    parameter = space["batch_size"]
    if isinstance(parameter, ChoiceParameter):
        sizes = [choice for choice in parameter.choices if isinstance(choice, int)]
        if len(sizes) == len(parameter.choices) and min(sizes) > 0:
            return sizes
    elif isinstance(parameter, IntegerParameter) and parameter.powers_of_two:
        low, high = parameter.native_range
        return [2**k for k in range(low.bit_length() - 1, high.bit_length())]
    raise WorldError(
        f"batch_size: must be an integer with powers_of_two = true, or a choice of positive "
        f"integers, so that every segment is whole optimizer steps (space {space.name!r})"
    )
