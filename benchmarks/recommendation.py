"""How often a study recommends something worse than the default, before and since there is a final.

    python benchmarks/recommendation.py [--studies 2000] [--seed 0]

A simulation in which the truth is known. A trial's true value is drawn from N(0, 1), that of the
default is either better than 90% of all or just the median; a run's value is the true one, plus
what its seed does to all alike (30% of the variance of chance), plus noise. The search keeps what
ran best. Before, its winner was recommended unless it was worse than the default on average over
two fresh seeds. Since, the final decides, by the very functions that a study uses, with half of the
search's cost. A row says how often what was recommended was truly worse than the default, and how
much better than the default it was on average; "best" is the gain of the truly best trial.
"""

import argparse
from statistics import mean

import numpy as np

from hpopt.record.race import Noise, affordable, chosen, still_in
from hpopt.settings.groups import FINAL_SEEDS, FINAL_SHARE, BudgetSettings

SHARED = 0.3  # of the variance of chance is what a seed does to all alike
DEFAULT = "0"
DEFAULTS = {"better than 90%": -1.2816, "the median": 0.0}
TRIALS = (4, 8, 16, 40)
CHANCE = (0.1, 0.5, 1.5)  # standard deviations, where that of the trials' true values is 1


class Study:
    """A simulated search, and runs of its trials on fresh seeds.

    Attributes:
        true: values of the trials, the default's first.
        found: what the search saw, by trial.
    """

    def __init__(
        self, rng: np.random.Generator, trials: int, chance: float, default: float
    ) -> None:
        self.true = rng.normal(0.0, 1.0, trials)
        self.true[0] = default
        self.found = self.true + rng.normal(0.0, chance, trials)
        self._rng = rng
        self._noise = chance * np.sqrt(1.0 - SHARED)
        self._seeds = rng.normal(0.0, chance * np.sqrt(SHARED), 64)

    def run(self, trial: int, seed: int) -> float:
        """Return the value of a trial's configuration on a fresh seed."""
        return float(self.true[trial] + self._seeds[seed] + self._rng.normal(0.0, self._noise))


def before(study: Study) -> int:
    """Return what a study recommended before there was a final."""
    winner = int(np.argmin(study.found))
    if winner == 0:
        return 0
    values = {trial: mean(study.run(trial, seed) for seed in (0, 1)) for trial in (0, winner)}
    return winner if values[winner] < values[0] else 0


def since(study: Study) -> int:
    """Return what it recommends with a final: `hpopt.study.final` on simulated runs."""
    runs = max(2.0, FINAL_SHARE * len(study.found))
    best = [int(trial) for trial in np.argsort(study.found) if trial]
    finalists = best[: max(1, min(BudgetSettings.finalists, int(runs) - 3))]
    names = [DEFAULT, *map(str, finalists)]
    costs = dict.fromkeys(names, 1.0)
    seen = {name: float(study.found[int(name)]) for name in names}
    values: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(FINAL_SEEDS):
        if seed:
            noise = Noise.of(values, seen)
            left = still_in({name: values[name] for name in names}, noise, DEFAULT)
            names = affordable({name: values[name] for name in left}, costs, runs, [DEFAULT])
            if len(names) < 2:
                break
        for name in names:
            values[name].append(study.run(int(name), seed))
        runs -= len(names)
    return int(chosen(values, Noise.of(values, seen), [DEFAULT]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| default | trials | chance | best | worse, before | since | gain, before | since |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, default in DEFAULTS.items():
        for trials in TRIALS:
            for chance in CHANCE:
                print(_row(name, default, trials, chance, asked.studies, asked.seed), flush=True)


def _row(name: str, default: float, trials: int, chance: float, studies: int, seed: int) -> str:
    gains: dict[str, list[float]] = {"best": [], "before": [], "since": []}
    for number in range(studies):
        for who, recommend in {"before": before, "since": since}.items():
            study = Study(np.random.default_rng([seed, number]), trials, chance, default)
            gains[who].append(float(study.true[0] - study.true[recommend(study)]))
        gains["best"].append(float(study.true[0] - study.true.min()))
    worse = [f"{mean(g < 0 for g in gains[who]):.1%}" for who in ("before", "since")]
    gained = [f"{mean(gains[who]):.2f}" for who in ("before", "since")]
    cells = [name, str(trials), f"{chance:g}", f"{mean(gains['best']):.2f}", *worse, *gained]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
