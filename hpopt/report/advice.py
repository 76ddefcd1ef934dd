"""What to do next, where a study's own figures say that more could be found, or found sooner."""

from collections.abc import Hashable, Sequence
from statistics import stdev

from hpopt_envs.records import Trial
from hpopt_search_spaces import FloatParameter, IntegerParameter, Parameter, SearchSpace, Value

from ..record.history import History
from ..record.race import Noise
from ..record.recommended import Recommended
from ..wording import counted

FEW_TRIALS = 2  # for each hyperparameter of the space
DROWNED = 2.0  # standard deviations of noise within which values can't be told apart


def advice(history: History) -> list[str]:
    """Return sentences; none for a study without a winner."""
    if history.best is None:
        return []
    recommended = Recommended.of(history, "advice")
    space = SearchSpace.from_dict(history.header["space"])
    trials = [trial for trial in history.trials.values() if trial.id not in history.tests]
    return [
        *_at_ends(recommended, space),
        *_repeated(trials, space),
        *_too_little(history, recommended, trials, space),
    ]


def _at_ends(recommended: Recommended, space: SearchSpace) -> list[str]:
    """Return a sentence for each number on a scale that is held at an end of its range."""
    told = []
    for name in space.names:
        held = {values.get(name) for values in recommended.schedule.hyperparameters}
        further = _further(space[name], held.pop()) if len(held) == 1 else None
        if further is not None:
            which, end, beyond = further
            told.append(
                f"The recommended {name}, {end:g}, is the {which}est of its range: more may lie "
                f"beyond. In a space of your own (--space FILE.toml), [parameters.{name}] takes "
                f"`{which} = {beyond:g}`."
            )
    return told


def _further(parameter: Parameter, value: Value | None) -> tuple[str, float, float] | None:
    """Return which end of a range a value is, and one that lies further out by a factor of 4.

    None where it is no end, and where the range is no scale: the ends of a fraction are often those
    of what is possible, and a weight of 0 is off, however low the range goes.
    """
    if not isinstance(parameter, FloatParameter | IntegerParameter):
        return None
    whole = isinstance(parameter, IntegerParameter)
    if not (parameter.log or (isinstance(parameter, IntegerParameter) and parameter.powers_of_two)):
        return None
    if value == parameter.high > parameter.low:
        return "high", parameter.high, 4 * parameter.high
    if value == parameter.low < parameter.high:
        beyond = max(1, parameter.low // 4) if whole else parameter.low / 4
        return ("low", parameter.low, beyond) if beyond < parameter.low else None
    return None


def _repeated(trials: Sequence[Trial], space: SearchSpace) -> list[str]:
    """Return a sentence where trials had the same hyperparameters throughout."""
    seen: dict[Hashable, int] = {}
    again = []
    for trial in trials:
        if trial.value is None or not trial.path:
            continue
        path = tuple(
            tuple((name, segment.hyperparameters.get(name)) for name in space.names)
            for segment in trial.path
        )
        if path in seen:
            again.append(f"trial {trial.id} was trained as trial {seen[path]}")
        seen.setdefault(path, trial.id)
    if not again:
        return []
    more = f", and {len(again) - 3} more" if len(again) > 3 else ""
    return [
        f"{'; '.join(again[:3])}{more}: what is repeated is paid for and tells little. A wider "
        "space, or fewer trials, spends less."
    ]


def _too_little(
    history: History, recommended: Recommended, trials: Sequence[Trial], space: SearchSpace
) -> list[str]:
    """Return a sentence where there were too few trials, or they were too short, to tell."""
    told = []
    values = [t.value for t in trials if t.value is not None and t.can_win]
    if len(trials) < FEW_TRIALS * len(space.names):
        told.append(
            f"{counted(len(trials), 'trial')} for {counted(len(space.names), 'hyperparameter')} "
            f"are few; `--trials {4 * len(space.names)}` sees more, and --fix leaves some out."
        )
    noise = Noise(0.0, 0) if recommended.final is None else recommended.final.noise
    if noise.degrees and len(values) > 2 and stdev(values) < DROWNED * noise.deviation:
        facts = history.facts
        longer = f"`--trial-tokens {4 * facts.trial_tokens}` makes them four times as long"
        told.append(
            f"Trials differ by little more than chance (standard deviation {stdev(values):.4f}; of "
            f"one configuration from seed to seed {noise.deviation:.4f}): "
            f"{'longer ones would tell more' if facts.external else longer}."
        )
    return told
