"""Sentences about a study that the terminal and the page share."""

from collections.abc import Mapping

from hpopt_envs.records import RunFacts

from ..record.judged import Confirmation, Judged


def exceeded(facts: RunFacts, columns: Mapping[str, Judged]) -> list[str]:
    """Return a line for each that is over the limit on divergence on average."""
    means = {who: judged.metric("divergence") for who, judged in columns.items()}
    return [
        f"The {who} exceeds the limit on divergence on fresh seeds: {mean:.4f} on average."
        for who, mean in means.items()
        if mean is not None and not facts.feasible({"divergence": mean})
    ]


def verdict(confirmation: Confirmation, other: str) -> str:
    if confirmation.default_won:
        return f"The {other} configuration won the search: it was run once, not twice."
    winner, default = confirmation.winner, confirmation.default
    gain = confirmation.gain
    if gain is None:
        failed = "winner" if winner.mean is None else other
        return f"Winner and {other} can't be compared: no trial of the {failed} has a value."
    if gain <= 0:
        return f"The winner is no better than the {other} on fresh seeds: {abs(gain):.4f} worse."
    if winner.spread is None or default.spread is None:
        return f"The winner is better than the {other} by {gain:.4f}; one seed can't tell noise."
    if gain > 2 * max(winner.spread, default.spread):
        return f"The winner is better than the {other} by {gain:.4f}, more than twice the spread."
    return f"The winner is better than the {other} by {gain:.4f}, which may be noise."
