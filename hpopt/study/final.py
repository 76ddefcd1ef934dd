"""The final: a race of the best few schedules beside what would be used without them."""

from collections.abc import Sequence

from hpopt_envs.records import RunFacts

from ..pool.budget import training_cost
from ..pool.metered import MeteredPool
from ..record.final import DEFAULT, Entrant, Final, finalists_of, incumbents_of
from ..record.race import affordable, still_in
from .fresh_seeds import Job, run_jobs


def hold_final(pool: MeteredPool, entrants: Sequence[Entrant], seeds: int, purse: float) -> None:
    """Run entrants on a fresh seed, and those still in the race on further ones.

    Args:
        pool: whose search is over.
        entrants: see `choose_entrants`.
        seeds: most of them.
        purse: token-equivalents that all of it may cost; the first seed is run in any case.
    """
    before, costs = _spent(pool), {e.name: run_cost(e, pool.facts) for e in entrants}
    left = [entrant.name for entrant in entrants]
    for seed in range(seeds):
        if seed:
            final, racing = _so_far(pool), left
            values = {name: final.values[name] for name in left if name in final.values}
            left = still_in(values, final.noise, DEFAULT)
            _drop(pool, final, [name for name in racing if name not in left])
            values = {name: values[name] for name in left}
            money = purse - (_spent(pool) - before)
            left = affordable(values, costs, money, final.incumbents)
            if len(left) < 2 or not pool.can_run(len(left)):
                break
        jobs = [Job(e.name, e.schedule, seed) for e in entrants if e.name in left]
        run_jobs(pool, jobs, keep_weights=not seed)


def choose_entrants(pool: MeteredPool, finalists: int, seeds: int, purse: float) -> list[Entrant]:
    """Return default, baseline, and as many finalists as can be run, the best on two seeds.

    Args:
        pool: whose search is over.
        finalists: most of them; at least one is returned where the search has one.
        seeds: most of them.
        purse: token-equivalents that all of it may cost.
    """
    incumbents = incumbents_of(pool.history)
    again = min(2, seeds)
    cost = again * sum(run_cost(entrant, pool.facts) for entrant in incumbents)
    taken: list[Entrant] = []
    for entrant in finalists_of(pool.history, finalists):
        cost += (1 if taken else again) * run_cost(entrant, pool.facts)
        if taken and cost > purse:
            break
        taken.append(entrant)
    return [*incumbents, *taken]


def run_cost(entrant: Entrant, facts: RunFacts) -> float:
    """Return the token-equivalents of a run, computed: trained, validated and tested.

    Nobody knows what a script's will be: their runs are counted.
    """
    if facts.external:
        return 1.0
    trained = (training_cost(facts, values, n) for values, n in entrant.schedule.segments)
    return sum(trained) + 2 * facts.final_validation_cost


def _spent(pool: MeteredPool) -> float:
    """Return what is spent so far, in the unit of `run_cost`."""
    history = pool.history
    return float(len(history.tests)) if pool.facts.external else history.cost


def _drop(pool: MeteredPool, final: Final, names: Sequence[str]) -> None:
    """Delete the weights of finalists that are out of the race."""
    for name in names:
        if name in final.incumbents:
            continue
        for trial in final.runs[name]:
            pool.workers.drop(trial.id)


def _so_far(pool: MeteredPool) -> Final:
    final = Final.of(pool.history)
    assert final is not None
    return final
