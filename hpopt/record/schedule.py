"""The schedule of a trial: what it was trained with, in fractions of its run."""

from collections.abc import Mapping, Sequence

from hpopt_envs.records import Segment
from hpopt_search_spaces import Value


def stretches(path: Sequence[Segment]) -> list[tuple[str, Mapping[str, Value]]]:
    """Return each stretch of equal hyperparameters of a path: "0%–12%" of it, and these."""
    trained = path[-1].training_tokens
    ends: list[tuple[float, Mapping[str, Value]]] = []
    for segment in path:
        if ends and ends[-1][1] == segment.hyperparameters:
            ends.pop()
        ends.append((segment.training_tokens / trained, segment.hyperparameters))
    begins = [0.0, *(end for end, _ in ends)]
    # A controller's first steps are less than a percent each.
    digits = int(any(end - begin < 0.01 for begin, (end, _) in zip(begins, ends, strict=False)))
    return [
        (f"{begin:.{digits}%}–{end:.{digits}%}", values)
        for begin, (end, values) in zip(begins, ends, strict=False)
    ]
