"""How training tokens are cut into segments and trials."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpopt_search_spaces import ChoiceParameter, IntegerParameter, SearchSpace, Value

from ..errors import WorldError

LEAST_SEGMENT_TOKENS = 4096
SEGMENTS = 16
WHOLE_BATCH = "all"  # a batch_size: every training example


@dataclass(frozen=True)
class Lengths:
    """Task tokens of training examples.

    Attributes:
        mean: tokens an example, rounded up.
        equal: whether all examples have as many.
        examples: of the training data.
        total: of all training examples: one epoch.
    """

    mean: int
    equal: bool
    total: int
    examples: int

    @classmethod
    def of(cls, tokens: Sequence[int]) -> "Lengths":
        mean = math.ceil(sum(tokens) / len(tokens))
        return cls(mean, min(tokens) == max(tokens), sum(tokens), len(tokens))


@dataclass(frozen=True)
class Plan:
    """Task tokens a segment and a trial; a trial is a whole number of segments."""

    segment_tokens: int
    trial_tokens: int


def plan_trial(
    batch_sizes: Sequence[int],
    lengths: Lengths,
    segment_tokens: int | None = None,
    trial_tokens: int | None = None,
) -> Plan:
    """Fill in what isn't given, and refuse what doesn't fit.

    Where all examples are equally long, a segment is a multiple of batch size × example tokens for
    every batch size: the least such number that is at least 4,096 where it isn't given. Otherwise
    it is at least one step of the largest batch. A trial is 16 segments or one epoch, whichever is
    less, and at least one segment; 16 segments where a batch is all examples.

    Args:
        batch_sizes: every one that a trial may have, in examples.
        lengths: of the training examples.
        segment_tokens: of a segment.
        trial_tokens: of a trial.

    Raises:
        WorldError: one line, where the lengths contradict the batch sizes or each other.
    """
    largest = max(batch_sizes) * lengths.mean
    step = math.lcm(*(size * lengths.mean for size in batch_sizes)) if lengths.equal else 1
    if segment_tokens is None:
        whole = -(-max(LEAST_SEGMENT_TOKENS, largest) // step) * step
        if trial_tokens is not None and largest <= trial_tokens < whole and not trial_tokens % step:
            whole = step if lengths.equal else trial_tokens
        segment_tokens = whole
    if lengths.equal and (segment_tokens <= 0 or segment_tokens % step):
        raise WorldError(
            f"segment_tokens: must be a multiple of {step} (every batch size of the space × "
            f"{lengths.mean} tokens an example), but got {segment_tokens}"
        )
    if segment_tokens < largest:
        raise WorldError(
            f"segment_tokens: must be at least {largest} (a step of the largest batch, "
            f"{max(batch_sizes)} examples of {lengths.mean} tokens), but got {segment_tokens}"
        )
    if trial_tokens is None:
        whole_batches = list(batch_sizes) == [lengths.examples]  # a step is an epoch
        epoch = SEGMENTS if whole_batches else lengths.total // segment_tokens
        trial_tokens = segment_tokens * max(1, min(SEGMENTS, epoch))
    if trial_tokens <= 0 or trial_tokens % segment_tokens:
        raise WorldError(
            f"trial_tokens: must be a multiple of segment_tokens={segment_tokens}, "
            f"but got {trial_tokens}"
        )
    return Plan(segment_tokens, trial_tokens)


def batch_sizes(space: SearchSpace, fixed: Mapping[str, Value], examples: int) -> list[int]:
    """Return every batch size that a trial may have, in examples.

    Args:
        space: says what is searched.
        fixed: hyperparameters beside the space's.
        examples: of the training data, which are a batch where `batch_size` is fixed at "all".

    Raises:
        WorldError: there is no batch size, or they can't be listed.
    """
    if "batch_size" in fixed:
        size = fixed["batch_size"]
        return [examples if size == WHOLE_BATCH else int(size)]
    parameter = space["batch_size"]
    if isinstance(parameter, ChoiceParameter):
        sizes = list(parameter.choices)
        if all(isinstance(size, int) and size > 0 for size in sizes):
            return [int(size) for size in sizes]
    elif isinstance(parameter, IntegerParameter) and parameter.powers_of_two:
        low, high = parameter.native_range
        return [2**k for k in range(low.bit_length() - 1, high.bit_length())]
    raise WorldError(
        f"batch_size: must be an integer with powers_of_two = true, or a choice of positive "
        f"integers, so that every segment is whole optimizer steps (space {space.name!r})"
    )
