"""The report of a study."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...record.files import write_whole
from ...record.folders import StudyFolder
from ...record.history import History
from ...record.samples import Samples, read_samples
from .files import shared_script
from .importance import Importances, importances
from .page import Section, figures_of, page
from .progress import best_so_far
from .samples import samples_section
from .schedules import SCHEDULES, schedules
from .space_figures import MOST_LINES, contour, importance_bars, parallel_coordinates, slices
from .summary import summary
from .trade import trade
from .tried import AVERAGED
from .why import why, why_lines

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]


def write_report(study: StudyFolder, history: History) -> Path:
    """Write the report of a study into its folder; return its path.

    Args:
        study: its folder, with a result.json where it ended, and perhaps with samples.
        history: of the study; it may still be running.
    """
    return write_study_report(history, study.read_result(), study.report, read_samples(study))


def write_study_report(
    history: History,
    result: Mapping[str, Any] | None,
    path: Path,
    samples: Samples | None = None,
) -> Path:
    """Write a study's report, a page of HTML that works offline; return its path.

    Args:
        history: of the study; it may still be running.
        result: what its result.json says; None where there is none.
        path: of the file to write, in the study's folder.
        samples: what its recommended model writes; None where that writes nothing.
    """
    known = importances(history)
    title = f"{history.header['name']}: {history.header['agent']} on {history.facts.task}"
    written = [] if samples is None else [samples_section(samples)]
    sections = [*written, *_sections(history, known)]
    text = page(title, summary(history, result, known), sections, shared_script(path))
    write_whole(path, text)
    return path


def study_figures(history: History) -> "dict[str, Figure]":
    """Return the figures of a study that can be drawn, by name."""
    return figures_of(_sections(history, importances(history)))


def _why(history: History) -> list[Section]:
    """Return why trials are as they are, where their searcher says so."""
    if not history.chosen:
        return []
    told = why_lines(history)
    last = history.chosen[max(history.chosen)]
    if not {"expected", "rates", "row"} <= last.keys():  # of somebody else, or not yet
        return [Section("why", "Why it chose", html=told)]
    caption = (
        "What the value networks saw, and what they expected: regret is 0 for the best "
        "configuration of their grid, 1 for the base model. Above, the ramp of the first trial, "
        "as far as it went. Below, the regrets that they expected when they "
        "chose last; numbers are the trials that they chose, where these were held."
    )
    return [Section("why", "Why it chose", caption, why(history), told)]


def _sections(history: History, known: Importances | str) -> list[Section]:
    return [
        Section(
            "best_so_far",
            "Best so far against cost",
            "Each mark is a trial at its end: its objective on validation, over what the search "
            "had spent by then. A few trials far worse than the others may lie outside: "
            "double-click to see them.",
            best_so_far(history),
        ),
        Section(
            "schedules",
            "Schedules of the best trials",
            f"What the {SCHEDULES} best trials were trained with, along the path from the base "
            "model to their final weights. A schedule shape (warm-up, decay) multiplies the "
            "learning rate on top of what is drawn.",
            schedules(history),
        ),
        *_why(history),
        Section(
            "importance",
            "Importance of the hyperparameters",
            "PED-ANOVA: what sets the best tenth of the trials apart from all. fANOVA: the share "
            "of the objective's variance over the search space that a hyperparameter explains "
            f"alone, where every trial had it. {AVERAGED} Trials that exploded or ran out of "
            "memory count as the worst; pruned and failed ones don't count.",
            known if isinstance(known, str) else importance_bars(known),
        ),
        Section(
            "parallel_coordinates",
            "Parallel coordinates",
            f"Each line is a trial that could win (the best {MOST_LINES} at most), the better the "
            f"darker; dotted ones are over a limit on divergence. {AVERAGED}",
            parallel_coordinates(history),
        ),
        Section(
            "slices",
            "One hyperparameter at a time",
            "Trials without a value are at the worse edge.",
            slices(history),
        ),
        Section(
            "contour",
            "The two most important hyperparameters",
            "The objective between the trials that could win (dots), interpolated.",
            known if isinstance(known, str) else contour(history, known.names),
        ),
        Section(
            "trade",
            "Quality, divergence and cost",
            "Where trials that could win ended. The large ones are on the Pareto front: no other "
            "is at least as good in all three and better in one.",
            trade(history),
        ),
    ]
