"""Out of memory is knowledge: what doesn't fit is done in smaller parts, and remembered."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]

from .data import Split, split_size

MOST_TOKENS = 65_536  # of a micro-batch, so that a batch of everything isn't tried at once

Result = TypeVar("Result")


class MicroBatches:
    """How many examples fit into memory at once, by their length.

    What doesn't fit is halved until it does; longer examples start from what shorter ones left.
    """

    def __init__(self) -> None:
        self._fitting: dict[int, int] = {}  # examples by tokens of the longest one

    def run(self, examples: int, tokens: int, work: Callable[[int], Result]) -> Result:
        """Do some work on a batch in micro-batches that fit.

        Args:
            examples: of the batch.
            tokens: of its longest example.
            work: is given the size of a micro-batch, in examples. It may be called again, with
                half of that, after it ran out of memory: it must then begin anew.

        Raises:
            torch.OutOfMemoryError: not even one example fits.
        """
        known = [fitting for length, fitting in self._fitting.items() if length <= tokens]
        size = min([examples, max(1, MOST_TOKENS // tokens), *known])
        while True:
            try:
                return work(size)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise torch.OutOfMemoryError(f"a single example doesn't fit: {error}") from None
            # Only here, after the error and with it the frames that hold tensors are gone.
            size //= 2
            self._fitting[tokens] = size
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that there isn't enough memory, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or bool(should_reduce_batch_size(error))


def parts(batch: Split, size: int) -> Iterator[Split]:
    """Cut a batch into micro-batches of at most `size` examples."""
    for start in range(0, split_size(batch), size):
        yield {name: tensor[start : start + size] for name, tensor in batch.items()}
