"""Searching, the final, and writing down what came of it; replay included."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from hpopt_envs.errors import foreign

from ..commands import resume_command
from ..errors import Paused, io_error
from ..pool.metered import MeteredPool
from ..record.folders import StudyFolder
from ..record.history import FIRST_TEST, History
from ..record.lines import Event
from ..record.recommended import Recommended
from ..searchers.base import NO_PRUNER
from ..searchers.registry import AGENTS, PRUNERS, build_searcher
from ..tracking.client import TrackingProcess
from .display import Display
from .final import choose_entrants, hold_final
from .open_study import OpenStudy
from .result import StudyResult, has_weights, write_result


def conduct(
    study: OpenStudy,
    display: Display,
    tracking: TrackingProcess | None = None,
    *,
    keeps_weights: bool = True,
) -> StudyResult:
    """Search, hold the final, and write down what came of it; closes the study.

    Args:
        study: what is in its journal is lived through again.
        display: shows what happens.
        tracking: whose state is shown; it is started and ended elsewhere.
        keeps_weights: whether the recommended model's weights are written.

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
    settled, searched, judged = split_events(study.journal.events)
    for event in settled:
        history.apply(event)
    first_test = FIRST_TEST + len(history.tests)
    budget = study.budget(history)
    display.begin(study, history, budget, tracking)
    searching = study.metered(history, budget, searched, watch=display.event)
    _search(study, searching)
    final = study.metered(history, budget, judged, first_trial=first_test, watch=display.event)
    saved = True
    if history.best is not None:
        _hold_final(study, final, display)
        if keeps_weights and not study.facts.external:
            saved = _save_weights(study.folder, final, Recommended.of(history, "weights"))
    seconds = time.monotonic() - started
    result = StudyResult(study.name, study.folder.path, history, study.space, seconds)
    write_result(result, study.settings)
    if saved:  # nothing needs snapshots now: an extension begins with new trials
        final.workers.clear_snapshots()
    return result


def _search(study: OpenStudy, pool: MeteredPool) -> None:
    plan = study.plan
    ours = plan.agent in AGENTS and plan.pruner in PRUNERS
    pruned = "" if plan.pruner == NO_PRUNER else f"+{plan.pruner}"
    with nullcontext() if ours else foreign(f"agent {plan.agent}{pruned}"):
        build_searcher(plan).search(pool)


def _hold_final(study: OpenStudy, pool: MeteredPool, display: Display) -> None:
    seeds, finalists = study.settings.confirm_seeds, study.settings.budget.finalists
    if not seeds:
        return
    purse = pool.budget.final_cost(pool.history)
    entrants = choose_entrants(pool, finalists, seeds, purse)
    display.judging(entrants)
    hold_final(pool, entrants, seeds, purse)


def _save_weights(folder: StudyFolder, pool: MeteredPool, recommended: Recommended) -> bool:
    """Write the weights of what is recommended; False where that can't be done.

    They are of its first run in the final, or of the search's winner where there was none.
    """
    trial = recommended.example
    if trial is None or has_weights(folder, trial):
        return True
    return pool.workers.save_weights(trial, folder.best)


def split_events(events: list[Event]) -> tuple[list[Event], list[Event], list[Event]]:
    """Divide a journal by how a process that takes the study up lives through it again.

    Returns:
        What is only taken note of: the study, extensions, and finals before them; what is to be
        replayed of the search; and of the final.
    """
    settled: list[Event] = []
    searched: list[Event] = []
    judged: list[Event] = []
    for event in events:
        if event["event"] in ("study", "resumed"):
            settled.append(event)
        elif event["event"] == "extended":
            while searched and searched[-1]["event"] == "refused":
                searched.pop()  # the budget of now is asked again
            settled += [*judged, event]
            judged = []
        elif judged or event.get("trial", 0) >= FIRST_TEST:
            judged.append(event)
        else:
            searched.append(event)
    return settled, searched, judged
