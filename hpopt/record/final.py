"""The final of a study: its finalists beside what would be used without it, on fresh seeds.

Everything follows from the history: the trials of the final say whose schedule they test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

from hpopt_envs.records import RunFacts, Trial
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_search_spaces import SearchSpace, Value

from .history import History
from .judged import Judged, judged
from .race import Difference, Noise, best_of, chosen
from .schedule import Schedule

DEFAULT, BASELINE = "default", "baseline"


def default_configuration(space: SearchSpace, facts: RunFacts) -> dict[str, Value]:
    """Return all hyperparameters of the default configuration."""
    if facts.external:  # whatever shape its learning rate has is the script's affair
        return dict(facts.fixed) | space.defaults()
    return HELD_SHAPE | dict(facts.fixed) | space.defaults()


@dataclass(frozen=True)
class Entrant:
    """A schedule in the final.

    Attributes:
        name: "default", "baseline", or "trial 5".
        schedule: its own.
        trial: of the search that had it first; None where none had.
    """

    name: str
    schedule: Schedule
    trial: Trial | None

    @property
    def loss(self) -> float:
        """The loss that the trial of the search ended with, see `loss_of`."""
        assert self.trial is not None
        return loss_of(self.trial)


def loss_of(trial: Trial) -> float:
    """Return the loss that a trial ended with; 0 where a script reports none."""
    return trial.path[-1].metrics.get("loss", 0.0)


def incumbents_of(history: History) -> list[Entrant]:
    """Return what is used where nothing is better: the default, and a baseline that differs."""
    facts = history.facts
    default = default_configuration(SearchSpace.from_dict(history.header["space"]), facts)
    held = Schedule.held(default, facts)
    found = [Entrant(DEFAULT, held, _first_with(history, held))]
    baseline = default | dict(facts.baseline)
    if baseline != default:
        held = Schedule.held(baseline, facts)
        found.append(Entrant(BASELINE, held, _first_with(history, held)))
    return found


def finalists_of(history: History, count: int) -> list[Entrant]:
    """Return the best few different schedules of the search that no incumbent has.

    Of those with equal values, configurations come before others, then those of lower loss.
    """
    taken = [incumbent.schedule.hyperparameters for incumbent in incumbents_of(history)]
    found: list[Entrant] = []
    for trial in sorted(_could_win(history), key=lambda trial: _rank(trial, history.facts)):
        if len(found) == count:
            break
        one = _finalist(trial, history.facts)
        if one.schedule.hyperparameters not in taken:
            found.append(one)
            taken.append(one.schedule.hyperparameters)
    return found


def _finalist(trial: Trial, facts: RunFacts) -> Entrant:
    return Entrant(f"trial {trial.id}", Schedule.of(trial, facts), trial)


def _could_win(history: History) -> list[Trial]:
    return [
        trial
        for trial in history.trials.values()
        if trial.id not in history.tests
        and trial.can_win
        and history.facts.feasible(trial.segments[-1].metrics)
    ]


def _rank(trial: Trial, facts: RunFacts) -> tuple[float, bool, float]:
    assert trial.value is not None
    moves = len(Schedule.of(trial, facts).stretches) > 1
    return trial.value, moves, loss_of(trial)


def _first_with(history: History, schedule: Schedule) -> Trial | None:
    """Return the first ended trial of the search with a schedule's hyperparameters."""
    for trial in history.trials.values():
        if trial.id in history.tests or trial.value is None or trial.pruned:
            continue
        if Schedule.of(trial, history.facts).hyperparameters == schedule.hyperparameters:
            return trial
    return None


@dataclass(frozen=True)
class Final:
    """What a final came to, or where it stands.

    Attributes:
        history: of the study.
        entrants: default, baseline where there is one, finalists.
        runs: of each entrant that has begun, its trials in the order of their seeds.
    """

    history: History
    entrants: Sequence[Entrant]
    runs: dict[str, list[Trial]]

    @classmethod
    def of(cls, history: History) -> "Final | None":
        """Return the final since the study was last extended; None where none has begun."""
        runs: dict[str, list[Trial]] = {}
        for trial, name in history.entrants.items():
            runs.setdefault(name, []).append(history.trials[trial])
        if not runs:
            return None
        incumbents = [one for one in incumbents_of(history) if one.name in runs]
        others = [name for name in runs if name not in (DEFAULT, BASELINE)]
        finalists = [
            _finalist(history.trials[int(name.split()[1])], history.facts) for name in others
        ]
        return cls(history, [*incumbents, *finalists], runs)

    @cached_property
    def values(self) -> dict[str, list[float]]:
        """Of entrants none of whose trials failed: on validation, by seed, under the limit.

        Finalists whose hyperparameters don't change come first, then those of lower loss.
        """
        facts = self.history.facts
        found: dict[str, list[float]] = {}
        for one in sorted(self.entrants, key=_preferred):
            ended = [trial for trial in self.runs[one.name] if trial.outcome is not None]
            if ended and all(trial.value is not None for trial in ended):
                found[one.name] = [
                    facts.constrained(trial.value, trial.segments[-1].metrics)
                    for trial in ended
                    if trial.value is not None
                ]
        return found

    @cached_property
    def noise(self) -> Noise:
        """Of validation values, pooled over all of the final's runs."""
        before = {
            one.name: self.history.facts.constrained(
                one.trial.value, one.trial.segments[-1].metrics
            )
            for one in self.entrants
            if one.trial is not None and one.trial.value is not None
        }
        return Noise.of(self.values, before)

    @property
    def always(self) -> list[str]:
        """The default, and the baseline where there is one."""
        return [one.name for one in self.entrants if one.name in (DEFAULT, BASELINE)]

    @property
    def incumbents(self) -> list[str]:
        """The baseline, where there is one, then the default; without those that failed."""
        return [name for name in reversed(self.always) if name in self.values]

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is running."""
        return all(trial.outcome is not None for of in self.runs.values() for trial in of)

    @property
    def best(self) -> str | None:
        """Who has the lowest mean; None where all failed."""
        return best_of(self.values) if self.values else None

    def others(self, name: str) -> list[str]:
        """Return the others that have values, those nearest to an entrant's first."""
        gaps = {one: self.difference(name, one) for one in self.values if one != name}
        return sorted(gaps, key=lambda one: gap.mean if (gap := gaps[one]) else 0.0)

    @property
    def recommended(self) -> Entrant:
        """What to train with; the default where all failed."""
        if not self.values:
            return self.entrant(DEFAULT)
        return self.entrant(chosen(self.values, self.noise, self.incumbents))

    def entrant(self, name: str) -> Entrant:
        """Return an entrant by its name."""
        return next(one for one in self.entrants if one.name == name)

    def mean(self, name: str) -> float | None:
        """Return an entrant's mean on validation, as minimised, without what a limit adds."""
        values = [trial.value for trial in self.runs[name] if trial.value is not None]
        return mean(values) if values else None

    def difference(self, one: str, other: str) -> Difference | None:
        """Return how much better one is than another on validation; None where one failed."""
        if not {one, other} <= self.values.keys():
            return None
        return Difference.between(self.values[one], self.values[other], self.noise)

    def tested(self, name: str) -> Judged:
        """Return what an entrant came to on the test split."""
        return judged(self.runs[name])

    def test_difference(self, one: str, other: str) -> Difference | None:
        """Return how much better one is than another on the test split; None where one failed."""
        values = {e.name: self.tested(e.name) for e in self.entrants}
        whole = {name: of.values for name, of in values.items() if of.values and not of.failures}
        if not {one, other} <= whole.keys():
            return None
        return Difference.between(whole[one], whole[other], Noise.of(whole))


def _preferred(one: Entrant) -> tuple[bool, bool, float]:
    if one.name in (DEFAULT, BASELINE):
        return False, False, 0.0
    return True, len(one.schedule.stretches) > 1, one.loss
