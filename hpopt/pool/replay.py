"""The journal of an earlier process, lived through again."""

import json
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Any

from hpopt_envs.messages import Advance, Start, to_json

from ..errors import StudyError
from ..record.lines import Event


class Replay:
    """Hands out recorded events in order, each of which must be what is happening now.

    Args:
        events: of the search, in order.
        apply: called with each event that is handed out or passed over.
    """

    def __init__(self, events: Iterable[Event], apply: Callable[[Event], None]) -> None:
        self._events = deque(events)
        self._apply = apply

    def allows(self) -> bool | None:
        """Return whether a trial could start at this point; None at the end.

        Stays as it is until something else is taken.
        """
        self._pass_over("lost")
        return self._events[0]["event"] != "refused" if self._events else None

    def unpauses(self, trial: int) -> bool | None:
        """Return whether a paused trial was taken up at this point; None at the end."""
        self._pass_over("lost")
        event = next((event for event in self._events if event["event"] != "refused"), None)
        if event is None:
            return None
        return (event["event"], event["trial"]) == ("unpaused", trial)

    def take(self, event: Event, *others: Event) -> Event | None:
        """Take the next event, a decision: `event`, or what stood for it in older journals.

        The study's facts in it may differ.

        Returns:
            The event as it was recorded; None at the end.

        Raises:
            StudyError: the journal tells another story.
        """
        recorded = self._next()
        if recorded is None:
            return None
        # Lists for tuples, as in the journal.
        decided = [_essence(json.loads(json.dumps(form))) for form in (event, *others)]
        if _essence(recorded) not in decided:
            raise StudyError(
                f"a resumed study must decide as its journal says, but decided "
                f"{decided[0]} where the journal has {_essence(recorded)}"
            )
        self._apply(recorded)
        return recorded

    def take_reply(self, waiting: Container[int]) -> Event | None:
        """Take the next event, a reply to one of the waiting workers; None at the end.

        Raises:
            StudyError: the journal tells another story.
        """
        recorded = self._next()
        if recorded is None:
            return None
        if recorded["event"] != "reply" or recorded["worker"] not in waiting:
            raise StudyError(
                "a resumed study must wait where its journal has a reply, but waited where the "
                f"journal has {_essence(recorded)}"
            )
        self._apply(recorded)
        return recorded

    def _next(self) -> Event | None:
        self._pass_over("lost", "refused")
        return self._events.popleft() if self._events else None

    def _pass_over(self, *kinds: str) -> None:
        while self._events and self._events[0]["event"] in kinds:
            self._apply(self._events.popleft())


def _essence(event: Event) -> Event:
    """Return what of a decision has to be the same: not its time, nor what the budget was."""
    essence: Event = {name: event[name] for name in ("event", "worker", "trial") if name in event}
    if "request" in event:
        essence |= {name: v for name, v in event["request"].items() if name != "study"}
    return essence


def journaled(request: Start | Advance) -> dict[str, Any]:
    """Return a request as the journal has it, without what a snapshot's request has beside."""
    plain = to_json(request)
    beside = {"snapshot", "digest"} | (set() if plain.get("entrant") else {"entrant"})
    return {name: value for name, value in plain.items() if name not in beside}
