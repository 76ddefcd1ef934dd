"""From the journals of a comparison's studies to what it came to."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from hpopt_envs.records import RunFacts
from hpopt_search_spaces import SearchSpace

from ..pool.budget import full_run_cost
from ..record.folders import StudyFolder
from ..record.history import History
from ..record.judged import Judged
from ..verdict.outcome import Comparison, Curve
from .confirming import read_judged
from .settings import ComparisonSettings, study_name

CONFIRMATION = "confirmation"  # in place of a searcher, in the name of a task's confirmation
Studies = Mapping[tuple[str, str, int], History]


def read_studies(settings: ComparisonSettings, name: str) -> dict[tuple[str, str, int], History]:
    """Return the studies that ended, by (task, searcher, seed)."""
    folder, found = settings.folder(name), {}
    for task in settings.tasks:
        for who in settings.contestants:
            for seed in range(settings.seeds):
                study = StudyFolder(folder / study_name(task, who.file_name, seed))
                if study.has_ended:
                    found[task, who.label, seed] = study.read()
    return found


def best_studies(settings: ComparisonSettings, task: str, studies: Studies) -> dict[str, str]:
    """Return the name of the study that has a searcher's best trial on a task, by searcher."""
    best: dict[str, str] = {}
    for who in settings.contestants:
        values = {
            seed: history.best.value
            for seed in range(settings.seeds)
            if (history := studies.get((task, who.label, seed))) is not None
            and history.best is not None
            and history.best.value is not None
        }
        if values:
            seed = min(values, key=lambda seed: values[seed])
            best[who.label] = study_name(task, who.file_name, seed)
    return best


def read_comparison(settings: ComparisonSettings, name: str, studies: Studies) -> Comparison:
    """Put together what the studies that ended came to.

    Args:
        settings: of the comparison.
        name: of the comparison.
        studies: those that ended; each task must have one.
    """
    confirmed: dict[tuple[str, str], Judged] = {}
    best_values: dict[tuple[str, str], float] = {}
    for task in settings.tasks:
        best = best_studies(settings, task, studies)
        for (of, searcher, _), history in studies.items():
            if of == task and history.improvements:
                value = history.improvements[-1].value
                best_values[task, searcher] = min(value, best_values.get((task, searcher), value))
        judged = read_judged(
            study_name(task, CONFIRMATION, 0),
            str(settings.folder(name)),
            best,
            settings.study.budget.confirm_seeds or 0,
        )
        confirmed |= {(task, searcher): found for searcher, found in (judged or {}).items()}
    return Comparison(
        name=name,
        tasks=settings.tasks,
        searchers=tuple(contestant.label for contestant in settings.contestants),
        seeds=tuple(range(settings.seeds)),
        against=settings.against,
        equivalents=settings.equivalents,
        facts={task: facts_of(task, studies) for task in settings.tasks},
        curves={place: curve(history) for place, history in studies.items()},
        confirmed=confirmed,
        best_values=best_values,
        displace=settings.displace,
    )


def facts_of(task: str, studies: Studies) -> RunFacts:
    """Return the facts of a task; where there is no base model, the median trial stands for it."""
    histories = [history for (of, _, _), history in studies.items() if of == task]
    facts = histories[-1].facts
    if not facts.external:
        return facts
    values = [
        trial.value
        for history in histories
        for trial in history.trials.values()
        if trial.value is not None
    ]
    return replace(facts, base_objective=median(values)) if values else facts


def curve(history: History) -> Curve:
    """Return the best so far of a study, over cost; over trials where these are commands."""
    facts = history.facts
    if facts.external:
        return Curve(
            equivalents=tuple(float(one.trial + 1) for one in history.improvements),
            values=tuple(one.value for one in history.improvements),
            trials=len(history.trials) - len(history.tests),
        )
    whole = full_run_cost(facts, SearchSpace.from_dict(history.header["space"]))
    return Curve(
        equivalents=tuple((i.cost - facts.setup_cost) / whole for i in history.improvements),
        values=tuple(improvement.value for improvement in history.improvements),
        trials=len(history.trials) - len(history.tests),
    )
