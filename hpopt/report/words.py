"""Sentences about a study that the terminal and the page share."""

import math
from collections.abc import Mapping

from hpopt_envs.records import RunFacts

from ..record.final import Final
from ..record.judged import Judged
from ..record.race import CONFIDENCE

UNTESTED = "A command has no test split: that is validation, on fresh seeds."


def columns(final: Final) -> dict[str, str]:
    """Return entrants to show test figures of, by heading: the recommended first, then incumbents.

    The test split is shown for these alone, so that nothing is chosen by it.
    """
    chosen = final.recommended.name
    others = [name for name in reversed(final.always) if name != chosen]
    return {f"recommended ({chosen})": chosen} | {name: name for name in others}


def exceeded(facts: RunFacts, judged: Mapping[str, Judged]) -> list[str]:
    """Return a line for each that is over the limit on divergence on average."""
    means = {who: of.metric("divergence") for who, of in judged.items()}
    return [
        f"The {who} exceeds the limit on divergence on fresh seeds: {mean:.4f} on average."
        for who, mean in means.items()
        if mean is not None and not facts.feasible({"divergence": mean})
    ]


def test_verdict(final: Final) -> str:
    """Return how much better the recommended is on the test split, in a sentence."""
    chosen = final.recommended.name
    told = []
    for other in reversed(final.always):
        gain = None if other == chosen else final.test_difference(chosen, other)
        if gain is not None:
            sure = "" if math.isinf(gain.uncertainty) else f" ± {gain.uncertainty:.4f}"
            better = "better" if gain.mean >= 0 else "worse"
            told.append(f"{better} than the {other} by {abs(gain.mean):.4f}{sure}")
    if not told:
        return ""
    who = f"the {chosen}" if chosen in final.always else chosen
    return f"On test, {who} is {' and '.join(told)} ({CONFIDENCE:.0%} interval)."
