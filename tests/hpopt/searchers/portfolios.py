"""Scripted studies of other tasks, for portfolios to come from."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpopt.record.lines import Event
from hpopt_search_spaces import SearchSpace, TrainingFacts, Value, load_space

Tried = Sequence[tuple[Mapping[str, Value], float]]


def scripted(
    script: Any, task: str, space: SearchSpace, tried: Tried, divergences: Sequence[float] = ()
) -> list[Event]:
    """The events of a study, two segments a trial."""
    script.events[0] |= {"name": f"of-{task}", "task": task, "space": space.to_dict()}
    for trial, (values, value) in enumerate(tried):
        divergence = divergences[trial] if divergences else 0.0
        script.trial(trial, value + 0.5, value, divergence=divergence)
        for event in script.events[-2:]:
            event["reply"]["segment"]["hyperparameters"] = dict(values)
    events: list[Event] = script.events
    return events


def resolved(name: str = "default", parameters: int = 10**6) -> SearchSpace:
    """A space for a model of so many parameters, which decide its default learning rate."""
    return load_space(name).resolve(TrainingFacts(parameters, parameters, 32768, 64, False))
