"""Searching, confirming, and writing down what came of it; replay included."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from hpopt_envs.errors import foreign

from ..commands import resume_command
from ..errors import Paused, io_error
from ..pool.metered import MeteredPool
from ..record.history import FIRST_TEST, History
from ..record.judged import Confirmation
from ..record.lines import Event
from ..searchers.base import NO_PRUNER
from ..searchers.registry import AGENTS, PRUNERS, build_searcher
from ..tracking.client import TrackingProcess
from .confirmation import confirm
from .display import Display
from .open_study import OpenStudy
from .result import StudyResult, has_weights, write_result


def conduct(
    study: OpenStudy,
    display: Display,
    tracking: TrackingProcess | None = None,
    *,
    keeps_weights: bool = True,
) -> StudyResult:
    """Search, confirm, and write down what came of it; closes the study.

    Args:
        study: what is in its journal is lived through again.
        display: shows what happens.
        tracking: whose state is shown; it is started and ended elsewhere.
        keeps_weights: whether the winner's weights are written.

    Raises:
        Paused: something can't be written; the text says what to type when it can.
    """
    with _resumable(study), study:
        try:
            return _conduct(study, display, tracking, keeps_weights)
        finally:
            display.end()


@contextmanager
def _resumable(study: OpenStudy) -> Iterator[None]:
    """Say what to type where a study can't go on for now, such as on a full disk."""
    try:
        yield
    except BrokenPipeError:
        raise  # of whoever reads what is printed
    except (Paused, OSError) as error:
        said = str(error) if isinstance(error, Paused) else io_error(error)
        again = resume_command(study.name, study.settings.tracking.runs)
        raise Paused(f"{said}; `{again}` goes on with the study") from error


def _conduct(
    study: OpenStudy, display: Display, tracking: TrackingProcess | None, keeps_weights: bool
) -> StudyResult:
    history, started = History(), time.monotonic()
    settled, searched, confirmed = split_events(study.journal.events)
    for event in settled:
        history.apply(event)
    first_test = FIRST_TEST + len(history.tests)
    budget = study.budget(history)
    display.begin(study, history, budget, tracking)
    searching = study.metered(history, budget, searched, watch=display.event)
    _search(study, searching)
    confirmation, saved = None, True
    if history.best is not None:
        if keeps_weights and not has_weights(study.folder, history.best):
            saved = searching.workers.save_weights(history.best, study.folder.best)
        confirming = study.metered(
            history, budget, confirmed, first_trial=first_test, watch=display.event
        )
        confirmation = _confirm(study, confirming, display)
    result = StudyResult(
        name=study.name,
        folder=study.folder.path,
        history=history,
        space=study.space,
        confirmation=confirmation,
        wall_seconds=time.monotonic() - started,
    )
    write_result(result, study.settings)
    if saved:  # nothing needs snapshots now: an extension begins with new trials
        searching.workers.clear_snapshots()
    return result


def _search(study: OpenStudy, pool: MeteredPool) -> None:
    plan = study.plan
    ours = plan.agent in AGENTS and plan.pruner in PRUNERS
    pruned = "" if plan.pruner == NO_PRUNER else f"+{plan.pruner}"
    with nullcontext() if ours else foreign(f"agent {plan.agent}{pruned}"):
        build_searcher(plan).search(pool)


def _confirm(study: OpenStudy, pool: MeteredPool, display: Display) -> Confirmation | None:
    seeds, best = study.settings.confirm_seeds, pool.history.best
    if not seeds or best is None:
        return None
    display.confirming(seeds)
    return confirm(pool, best, seeds)


def split_events(events: list[Event]) -> tuple[list[Event], list[Event], list[Event]]:
    """Divide a journal by how a process that takes the study up lives through it again.

    Returns:
        What is only taken note of: the study, extensions, and confirmations before them; what is
        to be replayed of the search; and of the confirmation.
    """
    settled: list[Event] = []
    searched: list[Event] = []
    confirmed: list[Event] = []
    for event in events:
        if event["event"] in ("study", "resumed"):
            settled.append(event)
        elif event["event"] == "extended":
            while searched and searched[-1]["event"] == "refused":
                searched.pop()  # the budget of now is asked again
            settled += [*confirmed, event]
            confirmed = []
        elif event.get("trial", 0) >= FIRST_TEST:
            confirmed.append(event)
        else:
            searched.append(event)
    return settled, searched, confirmed
